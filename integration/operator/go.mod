// Module operator pins the OpenTelemetry Operator, for the schema of its resources.
module github.com/orderedremotewrite/orderedremotewriteexporter/integration/operator

go 1.26.0

require (
	github.com/open-telemetry/opentelemetry-operator v0.140.0
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.2
	github.com/stretchr/testify v1.12.1
	sigs.k8s.io/yaml v1.6.0
)

require (
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.31.0 // indirect
)
