// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The Kubernetes set has no field that Kubernetes does not know, and its parts find each other.
func TestKubernetesSet(t *testing.T) {
	text, err := os.ReadFile("../deploy/kubernetes.yaml")
	require.NoError(t, err)
	services := map[string]corev1.Service{}
	var set appsv1.StatefulSet
	for _, document := range strings.Split(string(text), "\n---\n") {
		var kind metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal([]byte(document), &kind))
		switch kind.Kind {
		case "Service":
			var service corev1.Service
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &service))
			services[service.Name] = service
		case "StatefulSet":
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &set))
		default:
			t.Fatalf("unexpected kind %q", kind.Kind)
		}
	}
	pod := set.Spec.Template
	require.Len(t, pod.Spec.Containers, 1)
	container := pod.Spec.Containers[0]
	ports := map[string]int32{}
	for _, port := range container.Ports {
		ports[port.Name] = port.ContainerPort
	}
	assert.Equal(t, map[string]int32{"otlp-grpc": 4317, "otlp-http": 4318, "metrics": 8888, "health": 13133}, ports)

	assert.Equal(t, set.Spec.Selector.MatchLabels, pod.Labels)
	assert.Contains(t, services, set.Spec.ServiceName)
	assert.Equal(t, corev1.ClusterIPNone, services[set.Spec.ServiceName].Spec.ClusterIP)
	for name, service := range services {
		assert.Equal(t, pod.Labels, service.Spec.Selector, name)
		for _, port := range service.Spec.Ports {
			assert.Equal(t, port.Port, ports[port.TargetPort.String()], "%s: %s", name, port.Name)
		}
	}
	for _, probe := range []*corev1.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
		require.NotNil(t, probe)
		assert.Equal(t, "health", probe.HTTPGet.Port.String())
	}
	assert.Equal(t, "true", pod.Annotations["prometheus.io/scrape"])
	assert.Equal(t, "8888", pod.Annotations["prometheus.io/port"])

	volumes := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		volumes[volume.Name] = true
	}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		volumes[claim.Name] = true
		assert.NotEmpty(t, claim.Spec.Resources.Requests.Storage().String())
	}
	for _, mount := range container.VolumeMounts {
		assert.True(t, volumes[mount.Name], mount.Name)
		delete(volumes, mount.Name)
	}
	assert.Empty(t, volumes, "volumes that nothing mounts")
	assert.True(t, *pod.Spec.SecurityContext.RunAsNonRoot)
	assert.True(t, *container.SecurityContext.ReadOnlyRootFilesystem)
}

// chartValues are the values of the chart opentelemetry-collector that the project sets, as the chart's values.schema.json has
// them. The schema itself, which is in no Go module, has more.
type chartValues struct {
	Mode         string `json:"mode"`
	ReplicaCount int32  `json:"replicaCount"`
	Image        struct {
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
	} `json:"image"`
	Command struct {
		Name string `json:"name"`
	} `json:"command"`
	TerminationGracePeriodSeconds int64                       `json:"terminationGracePeriodSeconds"`
	UseGOMEMLIMIT                 bool                        `json:"useGOMEMLIMIT"`
	ExtraEnvs                     []corev1.EnvVar             `json:"extraEnvs"`
	Resources                     corev1.ResourceRequirements `json:"resources"`
	PodSecurityContext            corev1.PodSecurityContext   `json:"podSecurityContext"`
	SecurityContext               corev1.SecurityContext      `json:"securityContext"`
	PodAnnotations                map[string]string           `json:"podAnnotations"`
	Ports                         map[string]struct {
		Enabled bool `json:"enabled"`
	} `json:"ports"`
	ExtraVolumeMounts []corev1.VolumeMount `json:"extraVolumeMounts"`
	StatefulSet       struct {
		VolumeClaimTemplates []corev1.PersistentVolumeClaim `json:"volumeClaimTemplates"`
	} `json:"statefulset"`
	Config map[string]any `json:"config"`
}

// The values for the chart have no key that it does not know, and what goes into the pod no field that Kubernetes does not know.
func TestHelmValues(t *testing.T) {
	text, err := os.ReadFile("../deploy/helm-values.yaml")
	require.NoError(t, err)
	var values chartValues
	require.NoError(t, yaml.UnmarshalStrict(text, &values))
	assert.Equal(t, "statefulset", values.Mode)
	assert.True(t, *values.PodSecurityContext.RunAsNonRoot)
	assert.True(t, *values.SecurityContext.ReadOnlyRootFilesystem)
	require.Len(t, values.StatefulSet.VolumeClaimTemplates, 1)
	require.Len(t, values.ExtraVolumeMounts, 1)
	assert.Equal(t, values.StatefulSet.VolumeClaimTemplates[0].Name, values.ExtraVolumeMounts[0].Name)
}
