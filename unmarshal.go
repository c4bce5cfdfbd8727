// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
)

var _ confmap.Unmarshaler = (*Config)(nil)

// Unmarshal reads a configuration. Keys that do not exist, and values that are not of the key's kind, are told by
// Validate: the Collector puts the id of the exporter in front of its error, but not in front of one from here.
//
// The Collector's own check sees neither all of the one nor all of the other: the type of http reads its section without
// an error for unknown keys, so that http.header would be no header at all, and a fraction is cut, so that 2.5 partitions
// would be 2.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	var check keyCheck
	check.section("", conf, reflect.ValueOf(c).Elem())
	c.unreadable = check.problems
	if len(c.unreadable) > 0 {
		return nil
	}
	if err := conf.Unmarshal(c); err != nil {
		c.unreadable = problems{errors.New(withoutLines(err))}
	}
	return nil
}

// withoutLines makes one line of the lines of an error of confmap, some of which only say in which section the next is.
func withoutLines(err error) string {
	const announcement = "decoding failed due to the following error(s):"
	var text strings.Builder
	separator := ""
	for _, line := range strings.Split(err.Error(), "\n") {
		line, announces := strings.CutSuffix(strings.TrimSpace(line), announcement)
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		text.WriteString(separator + line)
		separator = "; "
		if announces {
			separator = " "
		}
	}
	return text.String()
}

// keyCheck compares a configuration with the fields of the types that it is for.
type keyCheck struct{ problems problems }

func (c *keyCheck) addf(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

// section checks the keys and values of conf, which is for the struct v and has its defaults. The path is "" or ends with
// a dot.
func (c *keyCheck) section(path string, conf *confmap.Conf, v reflect.Value) {
	given := conf.ToStringMap()
	// What an environment variable stands for is a string where one is needed, even if it looks like a number.
	texts := textsOf(conf)
	fields := make(map[string]reflect.Value)
	addFields(fields, v)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		field, ok := fields[key]
		if !ok {
			c.addf("%s", unknownKey(path, key, v.Type()))
			continue
		}
		e := entry{path: path + key, raw: given[key], isText: texts[key] == isText}
		e.sub = func() *confmap.Conf {
			sub, err := conf.Sub(key)
			if err != nil {
				return confmap.New()
			}
			return sub
		}
		c.value(e, field)
	}
}

// entry is a key of a section with its value.
type entry struct {
	path string
	raw  any
	// isText says whether the value can be a string.
	isText bool
	// sub returns the section if the value is one.
	sub func() *confmap.Conf
}

// must says what must be there instead of the value, which is not shown where it may be a secret.
func (e *entry) must(be string) error {
	return fmt.Errorf("%s: must be %s, not %s", e.path, be, e.shown())
}

// shown is the value, or what it is if it may be a secret.
func (e *entry) shown() string {
	if s, ok := e.raw.(string); ok && !strings.HasPrefix(e.path, "http.") {
		return fmt.Sprintf("the string %q", s)
	}
	return e.kind()
}

// kind is the value without the text of a string.
func (e *entry) kind() string {
	switch raw := e.raw.(type) {
	case nil:
		return "empty"
	case []any:
		return "a list"
	case map[string]any:
		return "a section with keys"
	case string:
		return "a string"
	default:
		return fmt.Sprint(raw)
	}
}

// value checks the value for a field.
func (c *keyCheck) value(e entry, v reflect.Value) {
	t := v.Type()
	if inner, ok := optional(t); ok {
		c.optional(e, inner)
		return
	}
	switch {
	case t == reflect.TypeFor[configopaque.MapList]():
		c.headers(e)
	case t.Kind() == reflect.Pointer:
		c.named(e, t.Elem())
	case e.raw == nil:
		c.empty(e, v)
	case isWrongTLSVersion(e):
		c.problems = append(c.problems, e.must("one of "+strings.Join(tlsVersions, ", ")))
	case reflect.TypeOf(e.raw) == t:
		// It was written by a program, not read from a file.
	case t == reflect.TypeFor[time.Duration]():
		c.duration(e)
	case t == reflect.TypeFor[ByteSize]():
		c.byteSize(e, t)
	case isTextType(t), t.Kind() == reflect.String:
		c.text(e, t)
	case t.Kind() == reflect.Bool:
		if _, ok := e.raw.(bool); !ok {
			c.problems = append(c.problems, e.must("true or false"))
		}
	case isInteger(t):
		c.integer(e, t)
	case t.Kind() == reflect.Float64:
		if !reflect.ValueOf(e.raw).CanConvert(t) {
			c.problems = append(c.problems, e.must("a number"))
		}
	case t.Kind() == reflect.Struct:
		if c.isSection(e) {
			c.section(e.path+".", e.sub(), v)
		}
	case t.Kind() == reflect.Map:
		c.texts(e)
	case t.Kind() == reflect.Slice:
		c.list(e, t.Elem())
	}
}

// named checks the name of an extension that is not used if the key is not there.
func (c *keyCheck) named(e entry, t reflect.Type) {
	if e.raw == nil || e.raw == "" {
		c.addf("%s: is empty, name an extension or leave the key out", e.path)
		return
	}
	if reflect.TypeOf(e.raw) != reflect.PointerTo(t) {
		c.value(e, reflect.New(t).Elem())
	}
}

// text checks a string, and one that a type reads itself.
func (c *keyCheck) text(e entry, t reflect.Type) {
	if !e.isText {
		must, ok := choice(t)
		if !ok {
			must = "a string (a number or a truth value needs quotes)"
		}
		c.problems = append(c.problems, e.must(must))
		return
	}
	s, ok := e.raw.(string)
	if !ok || !isTextType(t) || reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)) == nil {
		return
	}
	// The types' own errors show the value, which may be a token at the wrong place.
	if t == reflect.TypeFor[component.ID]() {
		c.addf("%s: must be the id of an extension, like file_storage or oauth2client/tenant", e.path)
	} else {
		c.addf("%s: is not valid", e.path)
	}
}

// tlsVersions are those that the Collector knows.
var tlsVersions = []string{"1.0", "1.1", "1.2", "1.3"}

// isWrongTLSVersion says whether the value is for a key of which the Collector's type says twice that it is wrong, without its name.
func isWrongTLSVersion(e entry) bool {
	version, ok := e.raw.(string)
	return ok && version != "" && (e.path == "http.tls.min_version" || e.path == "http.tls.max_version") && !slices.Contains(tlsVersions, version)
}

// empty is about a key with nothing behind it, which would set what it is for to nothing instead of leaving its default.
// An empty section is one that is not there.
func (c *keyCheck) empty(e entry, v reflect.Value) {
	if v.Kind() == reflect.Struct || v.IsZero() {
		return
	}
	c.addf("%s: has no value, leave the key out for the default %v", e.path, v)
}

// optional checks a section that is off if it is not there.
func (c *keyCheck) optional(e entry, inner reflect.Type) {
	if e.raw == nil {
		// Without its authenticator, data would go out without credentials.
		if e.path == "http.auth" {
			c.addf("%s: is empty, name an authenticator or leave the key out", e.path)
		}
		return
	}
	if !c.isSection(e) {
		return
	}
	sub := e.sub()
	if sub.IsSet("enabled") {
		c.value(entry{path: e.path + ".enabled", raw: sub.Get("enabled")}, reflect.ValueOf(true))
	}
	sub.Delete("enabled")
	c.section(e.path+".", sub, reflect.New(inner).Elem())
}

func (c *keyCheck) isSection(e entry) bool {
	_, ok := e.raw.(map[string]any)
	if !ok {
		c.addf("%s: must be a section with keys, not %s", e.path, e.kind())
	}
	return ok
}

// headers checks headers, which are a section of names and values or a list of them.
func (c *keyCheck) headers(e entry) {
	switch e.raw.(type) {
	case nil:
	case []any:
		c.list(e, reflect.TypeFor[configopaque.Pair]())
	case map[string]any:
		c.texts(e)
	default:
		c.addf("%s: must be a section of names and values, not %s", e.path, e.kind())
	}
}

// texts checks a section of names and strings.
func (c *keyCheck) texts(e entry) {
	if !c.isSection(e) {
		return
	}
	texts := textsOf(e.sub())
	values := e.raw.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if texts[name] != isText && values[name] != nil {
			at := entry{path: fmt.Sprintf("%s[%q]", e.path, name), raw: values[name]}
			c.problems = append(c.problems, at.must("a string (a number or a truth value needs quotes)"))
		}
	}
}

// list checks a list of strings, which may be one string with commas between, or of sections.
func (c *keyCheck) list(e entry, elem reflect.Type) {
	values, ok := e.raw.([]any)
	if _, isString := e.raw.(string); isString && elem.Kind() == reflect.String {
		return
	}
	if !ok {
		c.addf("%s: must be a list, not %s", e.path, e.kind())
		return
	}
	for i, value := range values {
		at := entry{path: fmt.Sprintf("%s[%d]", e.path, i), raw: value}
		section, isSection := value.(map[string]any)
		switch {
		case elem.Kind() == reflect.Struct && c.isSection(at):
			c.section(at.path+".", confmap.NewFromStringMap(section), reflect.New(elem).Elem())
		case elem.Kind() == reflect.String && isSection:
			c.problems = append(c.problems, at.must("a string"))
		}
	}
}

func (c *keyCheck) duration(e entry) {
	raw, ok := e.raw.(string)
	switch v := reflect.ValueOf(e.raw); {
	case ok:
		if _, err := time.ParseDuration(raw); err != nil {
			c.problems = append(c.problems, e.must("a time with a unit of ms, s, m or h, like 500ms, 30s or 1h30m"))
		}
	case v.CanInt() || v.CanUint() || v.CanFloat():
		// Zero needs no unit. Anything else would be nanoseconds.
		if !v.IsZero() {
			c.addf("%s: %v has no unit, write %[2]vs for seconds", e.path, e.raw)
		}
	default:
		c.problems = append(c.problems, e.must("a time with a unit, like 30s"))
	}
}

func (c *keyCheck) byteSize(e entry, t reflect.Type) {
	raw, ok := e.raw.(string)
	if !ok {
		c.integer(e, t)
		return
	}
	var size ByteSize
	if err := size.UnmarshalText([]byte(raw)); err != nil {
		c.addf("%s: %w", e.path, err)
	}
}

// integer checks a number that must be a whole one that the type can hold. YAML has 1e6 as a floating-point number.
func (c *keyCheck) integer(e entry, t reflect.Type) {
	fits := true
	switch v := reflect.ValueOf(e.raw); {
	case v.CanInt():
		fits = !t.OverflowInt(v.Int())
	case v.CanUint():
		fits = v.Uint() <= math.MaxInt64 && !t.OverflowInt(int64(v.Uint()))
	case v.CanFloat():
		f := v.Float()
		if math.IsNaN(f) || !math.IsInf(f, 0) && f != math.Trunc(f) {
			c.problems = append(c.problems, e.must("a whole number"))
			return
		}
		// The bound itself is not exact in floating point, and too large.
		fits = f > -math.MaxInt64 && f < math.MaxInt64 && !t.OverflowInt(int64(f))
	default:
		c.problems = append(c.problems, e.must("a whole number"))
	}
	if !fits {
		c.addf("%s: %v is out of range", e.path, e.raw)
	}
}

func isInteger(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64
}

// text becomes isText if what is read into it is a string. It is a string itself, since confmap gives what a variable
// holds as a string only to what is one.
type text string

const isText text = "text"

var _ confmap.ScalarUnmarshaler = (*text)(nil)

// UnmarshalScalar looks at a value that is no section.
func (t *text) UnmarshalScalar(value confmap.ScalarValue) error {
	if _, ok := value.GetRaw().(string); ok {
		*t = isText
	}
	return nil
}

// textsOf says which values of a section are strings. Sections within it cannot be read so, which is no matter here.
func textsOf(section *confmap.Conf) map[string]text {
	texts := make(map[string]text)
	_ = section.Unmarshal(&texts)
	return texts
}
