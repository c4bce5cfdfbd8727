// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

// schema is config.schema.yaml, a schema of JSON Schema 2020-12. The integration module tests that it is one, and what it
// refuses.
type schema struct {
	root map[string]any
	// used are the definitions that are referred to.
	used map[string]bool
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	conf, err := confmaptest.LoadConf("config.schema.yaml")
	require.NoError(t, err)
	return &schema{root: conf.ToStringMap(), used: make(map[string]bool)}
}

// property returns a property with what it refers to. Its own keywords prevail.
func (s *schema) property(t *testing.T, p map[string]any) map[string]any {
	t.Helper()
	ref, ok := p["$ref"].(string)
	if !ok {
		return p
	}
	name, local := strings.CutPrefix(ref, "#/$defs/")
	require.True(t, local, "%s is not in the file", ref)
	def, ok := s.root["$defs"].(map[string]any)[name].(map[string]any)
	require.True(t, ok, "no definition %s", name)
	s.used[name] = true
	all := maps.Clone(def)
	maps.Copy(all, p)
	delete(all, "$ref")
	return all
}

// keys returns the properties by the keys of the configuration, like queue.max_age, with those of sections.
func (s *schema) keys(t *testing.T) map[string]map[string]any {
	t.Helper()
	keys := make(map[string]map[string]any)
	var add func(path string, section map[string]any)
	add = func(path string, section map[string]any) {
		for name, p := range section["properties"].(map[string]any) {
			property := s.property(t, p.(map[string]any))
			keys[path+name] = property
			if property["properties"] != nil {
				add(path+name+".", property)
			}
		}
	}
	add("", s.root)
	return keys
}

// configDefaults returns the default values of all keys of Config, without those of sections, by their keys.
func configDefaults() map[string]any {
	defaults := make(map[string]any)
	cfg := createDefaultConfig().(*Config)
	var add func(path string, section reflect.Value)
	add = func(path string, section reflect.Value) {
		fields := make(map[string]reflect.Value)
		addFields(fields, section)
		for name, field := range fields {
			if inner, ok := optional(field.Type()); ok {
				defaults[path+name+".enabled"] = true
				field = reflect.New(inner).Elem()
				if path+name == "http.keepalive" {
					field = reflect.ValueOf(keepaliveOf(&cfg.HTTP)).Elem()
				}
			}
			if isSectionType(field.Type()) {
				add(path+name+".", field)
				continue
			}
			defaults[path+name] = field.Interface()
		}
	}
	add("", reflect.ValueOf(cfg).Elem())
	return defaults
}

// schemaTypes are the types that a value of a kind can have in the configuration.
func schemaTypes(value any) [][]any {
	switch value.(type) {
	case time.Duration:
		return [][]any{{"string"}, {"string", "integer"}}
	case ByteSize:
		return [][]any{{"integer", "string"}}
	case configopaque.MapList:
		return [][]any{nil}
	}
	if t := reflect.TypeOf(value); isTextType(t) || t.Kind() == reflect.Pointer && isTextType(t.Elem()) {
		return [][]any{{"string"}, nil}
	}
	switch kind := reflect.TypeOf(value).Kind(); kind {
	case reflect.Bool:
		return [][]any{{"boolean"}}
	case reflect.Int:
		return [][]any{{"integer"}, nil}
	case reflect.Float64:
		return [][]any{{"number"}}
	case reflect.Slice:
		return [][]any{{"array", "string", "null"}, {"array", "null"}}
	case reflect.Map:
		return [][]any{{"object", "null"}}
	case reflect.String:
		return [][]any{{"string"}, {"string", "null"}, nil}
	default:
		return nil
	}
}

// typesOf are the types of a property; nil are those of the values that it lists.
func typesOf(t *testing.T, key string, property map[string]any) []any {
	t.Helper()
	switch types := property["type"].(type) {
	case nil:
		listed := property["enum"] != nil || property["const"] != nil || property["anyOf"] != nil
		assert.True(t, listed, "%s has no type", key)
		return nil
	case []any:
		return types
	default:
		return []any{types}
	}
}

// TestSchemaCoversConfig: the schema has the keys of Config and no others, with their types and defaults.
func TestSchemaCoversConfig(t *testing.T) {
	s := readSchema(t)
	keys := s.keys(t)
	assert.Equal(t, knownKeys(), slices.Sorted(maps.Keys(keys)))
	defaults := configDefaults()
	for key, property := range keys {
		assert.NotEmpty(t, property["description"], "description of %s", key)
		want, isValue := defaults[key]
		if !isValue {
			assert.Contains(t, typesOf(t, key, property), "object", key)
			continue
		}
		assert.Contains(t, schemaTypes(want), typesOf(t, key, property), "type of %s", key)
		got, ok := property["default"]
		if property["deprecated"] == true || key == "http.endpoint" {
			assert.False(t, ok, "default of %s", key)
			continue
		}
		switch want := want.(type) {
		case time.Duration:
			d, err := time.ParseDuration(fmt.Sprint(got))
			require.NoError(t, err, key)
			assert.Equal(t, want, d, "default of %s", key)
		default:
			v := reflect.ValueOf(want)
			if v.Kind() == reflect.Map || v.Kind() == reflect.Slice || v.Kind() == reflect.Struct || v.Kind() == reflect.Pointer {
				assert.True(t, v.IsZero(), key)
				assert.False(t, ok, "default of %s", key)
				continue
			}
			assert.EqualValues(t, want, got, "default of %s", key)
		}
	}
	for name := range s.root["$defs"].(map[string]any) {
		s.property(t, map[string]any{"$ref": "#/$defs/" + name})
	}
}

// TestSchemaIsStrictAndSelfContained: no section takes other keys than those that it names, nothing refers to another
// file, and each definition is used.
func TestSchemaIsStrictAndSelfContained(t *testing.T) {
	s := readSchema(t)
	var check func(path string, value any)
	check = func(path string, value any) {
		switch value := value.(type) {
		case []any:
			for i, elem := range value {
				check(fmt.Sprintf("%s[%d]", path, i), elem)
			}
		case map[string]any:
			s.property(t, value)
			if types, ok := value["type"]; ok && (types == "object" || slices.Contains(asList(types), "object")) {
				// Conditions look at some keys only.
				if !strings.Contains(path, ".if") {
					assert.Contains(t, value, "additionalProperties", path)
				}
			}
			if value["properties"] != nil && value["type"] != nil && !strings.Contains(path, ".if") {
				assert.Equal(t, false, value["additionalProperties"], path)
			}
			for key, v := range value {
				check(path+"."+key, v)
			}
		}
	}
	check("", s.root)
	assert.ElementsMatch(t, slices.Collect(maps.Keys(s.root["$defs"].(map[string]any))), slices.Collect(maps.Keys(s.used)))
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// TestSchemaBoundsAreTheValidators: what the schema allows is valid, and what is just beyond is not.
func TestSchemaBoundsAreTheValidators(t *testing.T) {
	keys := readSchema(t).keys(t)
	try := func(key string, value any) error {
		conf := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": "http://localhost/"}})
		set := func(key string, value any) {
			path := strings.Split(key, ".")
			for _, name := range slices.Backward(path) {
				value = map[string]any{name: value}
			}
			require.NoError(t, conf.Merge(confmap.NewFromStringMap(value.(map[string]any))))
		}
		set(key, value)
		switch {
		case key == "translation_strategy":
			set("protobuf_message", string(MessageV2))
		case key == "batch.max_size_bytes":
			set("queue.max_size_bytes", int64(math.MaxInt64))
		case key == "http.tls.max_version":
			set("http.tls.min_version", "1.0")
		case key == "queue.max_size_bytes":
			set("batch.max_size_bytes", minBatchSize)
		}
		_, err := load(conf)
		return err
	}
	for key, property := range keys {
		if allowed, ok := property["enum"].([]any); ok {
			for _, value := range allowed {
				assert.NoError(t, try(key, value), key)
			}
			err := try(key, "sonstiges")
			require.Error(t, err, key)
			if strings.HasPrefix(key, "http.") {
				continue // the Collector's types do not list the values
			}
			require.ErrorContains(t, err, key)
			for _, value := range allowed {
				assert.ErrorContains(t, err, value.(string))
			}
			assert.Equal(t, len(allowed)-1, strings.Count(err.Error(), ", ")-1, "values of %s that the schema does not know", key)
		}
		for bound, beyond := range map[string]int{"minimum": -1, "maximum": 1} {
			if n, ok := property[bound].(int); ok {
				assert.NoError(t, try(key, n), key)
				assert.ErrorContains(t, try(key, n+beyond), key[strings.LastIndexByte(key, '.')+1:])
			}
		}
	}
}
