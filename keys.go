// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding"
	"reflect"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// addFields adds the fields of a struct by their keys, with those of embedded structs.
func addFields(to map[string]reflect.Value, section reflect.Value) {
	for i := range section.NumField() {
		field := section.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get(confmap.MapstructureTag), ",")
		switch {
		case !field.IsExported():
		case strings.Contains(options, "squash"):
			addFields(to, section.Field(i))
		default:
			to[name] = section.Field(i)
		}
	}
}

// optional returns T if t is a configoptional.Optional[T].
func optional(t reflect.Type) (inner reflect.Type, ok bool) {
	if t.PkgPath() != "go.opentelemetry.io/collector/config/configoptional" {
		return nil, false
	}
	get, ok := reflect.PointerTo(t).MethodByName("Get")
	if !ok {
		return nil, false
	}
	return get.Type.Out(0).Elem(), true
}

// isTextType says whether the type reads itself from a string, like a component's id.
func isTextType(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
