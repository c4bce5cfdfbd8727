// SPDX-License-Identifier: Apache-2.0

// Package operator checks the resource for the OpenTelemetry Operator against the operator's own schema.
package operator

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	// The schema is a file of the module that has this package.
	_ "github.com/open-telemetry/opentelemetry-operator/pkg/constants"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// resourceDefinition is what is read of a CustomResourceDefinition.
type resourceDefinition struct {
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// collectorSchema is the schema of an OpenTelemetryCollector in a version, which has no field that is not in it.
func collectorSchema(t *testing.T, apiVersion string) *jsonschema.Schema {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-telemetry/opentelemetry-operator").Output()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "config", "crd", "bases", "opentelemetry.io_opentelemetrycollectors.yaml"))
	require.NoError(t, err)
	var definition resourceDefinition
	require.NoError(t, yaml.Unmarshal(text, &definition))
	require.Equal(t, "OpenTelemetryCollector", definition.Spec.Names.Kind)
	for _, version := range definition.Spec.Versions {
		if definition.Spec.Group+"/"+version.Name != apiVersion {
			continue
		}
		schema := version.Schema.OpenAPIV3Schema
		// Kubernetes itself knows what is in here.
		schema["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object"}
		closeObjects(schema)
		compiler := jsonschema.NewCompiler()
		const name = "mem:///collector.json"
		require.NoError(t, compiler.AddResource(name, schema))
		compiled, err := compiler.Compile(name)
		require.NoError(t, err)
		return compiled
	}
	require.Failf(t, "unknown version", "%s", apiVersion)
	return nil
}

// closeObjects lets objects have no properties but theirs, as kubectl does with --validate=strict, unless Kubernetes keeps
// unknown ones.
func closeObjects(schema any) {
	switch schema := schema.(type) {
	case map[string]any:
		_, has := schema["properties"].(map[string]any)
		if open, _ := schema["x-kubernetes-preserve-unknown-fields"].(bool); has && !open {
			schema["additionalProperties"] = false
		}
		for _, inner := range schema {
			closeObjects(inner)
		}
	case []any:
		for _, inner := range schema {
			closeObjects(inner)
		}
	}
}

// The resource has no field that the operator does not know, and none of a wrong type.
func TestOperatorResource(t *testing.T) {
	text, err := os.ReadFile("../../deploy/operator.yaml")
	require.NoError(t, err)
	var resource map[string]any
	require.NoError(t, yaml.UnmarshalStrict(text, &resource))
	schema := collectorSchema(t, resource["apiVersion"].(string))
	require.NoError(t, schema.Validate(resource))

	spec := resource["spec"].(map[string]any)
	for field, wrong := range map[string]any{"terminationGracePeriod": 60.0, "replicas": "1", "mode": "stateful", "config": "receivers: {}"} {
		right, has := spec[field]
		spec[field] = wrong
		assert.Error(t, schema.Validate(resource), field)
		if spec[field] = right; !has {
			delete(spec, field)
		}
	}
	require.NoError(t, schema.Validate(resource))
}
