package path

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/netns"
)

var update = flag.Bool("update", false, "write docs/doctor.schema.json anew")

// schema is what this package's types look like in JSON, in the words of JSON
// Schema. Descriptions are the fields' comments.
type schema map[string]any

// words are the values of this package's kinds of strings.
var words = map[reflect.Type][]string{
	reflect.TypeFor[Tristate](): {"unknown", "no", "yes"},
	reflect.TypeFor[State]():    {string(OK), string(Broken), string(Undecided), string(Booting), string(Paused), string(Idle), string(Unidentified)},
	reflect.TypeFor[Severity](): {string(Critical), string(Warning), string(Info)},
	reflect.TypeFor[Hop]():      {string(Proxy), string(Relay), string(Tap), string(Guest), string(Envd)},
	reflect.TypeFor[Phase]():    phaseWords(),
	reflect.TypeFor[Outcome]():  outcomeWords(),
}

func outcomeWords() (all []string) {
	for _, o := range Outcomes {
		all = append(all, string(o))
	}
	return all
}

func phaseWords() (all []string) {
	for _, p := range Phases {
		all = append(all, string(p))
	}
	return all
}

func (c comments) of(t reflect.Type) schema {
	switch {
	case words[t] != nil:
		return schema{"type": "string", "enum": words[t]}
	case t == reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[Boot](): // what its MarshalJSON writes
		return c.of(reflect.TypeFor[bootJSON]())
	case t == reflect.TypeFor[netns.Cookie]():
		return schema{"type": "integer"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.object(t)
	case reflect.Pointer:
		s := c.of(t.Elem())
		s["type"] = []string{s["type"].(string), "null"}
		return s
	case reflect.Slice:
		return schema{"type": []string{"array", "null"}, "items": c.of(t.Elem())}
	case reflect.Map:
		return schema{"type": []string{"object", "null"}, "additionalProperties": c.of(t.Elem())}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float64:
		return schema{"type": "number"}
	}
	return schema{"type": "integer"}
}

func (c comments) object(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			of := f.Type
			if of.Kind() == reflect.Pointer { // its fields are written as if they were here
				of = of.Elem()
			}
			inner := c.object(of)
			maps.Copy(properties, inner["properties"].(schema))
			required = append(required, inner["required"].([]string)...)
			continue
		}
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" { // it is not written
			continue
		}
		s := c.of(f.Type)
		if text := c[t.Name()+"."+f.Name]; text != "" {
			s["description"] = text
		}
		properties[name] = s
		if !strings.Contains(rest, "omit") {
			required = append(required, name)
		}
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// comments are those of struct fields, by Type.Field.
type comments map[string]string

func readComments(t *testing.T) comments {
	t.Helper()
	c := comments{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				c.read(spec.Name.Name, s)
			}
			return true
		})
	}
	return c
}

func (c comments) read(typ string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
		for _, name := range f.Names {
			c[typ+"."+name.Name] = text
		}
	}
}

// TestSchemaIsTheDocumented holds docs/doctor.schema.json to what doctor -o json
// and /api/v1/paths print.
func TestSchemaIsTheDocumented(t *testing.T) {
	s := schema{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tapwatch doctor -o json",
		"type": "object", "required": []string{"paths"}, "additionalProperties": false,
		"properties": schema{"paths": schema{"type": "array", "items": readComments(t).of(reflect.TypeFor[Slot]())}},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "docs", "doctor.schema.json")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Errorf("%s (%v) is not what the types say: go test ./agent/path -run Schema -update, and look at the difference", file, err)
	}
	var plain map[string]any
	if err := json.Unmarshal(b.Bytes(), &plain); err != nil {
		t.Fatal(err)
	}
	idle := Slot{Facts: Facts{Netns: "ns-8", Device: Device{Name: "tap0", Carrier: No}, CloseLook: &NotLooked}, Diagnosis: Diagnosis{State: Idle}}
	slots := []Slot{noCarrier(), idle, full()}
	text, err := json.Marshal(map[string]any{"paths": slots})
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	for _, p := range violations(plain, value, "$") {
		t.Error(p)
	}
	for _, bad := range []string{`{}`, `{"paths":[{}]}`, `{"paths":1}`, strings.Replace(string(text), `"unknown"`, `"perhaps"`, 1), strings.Replace(string(text), `"hop"`, `"hopp"`, 1)} {
		if err := json.Unmarshal([]byte(bad), &value); err != nil {
			t.Fatal(err)
		}
		if len(violations(plain, value, "$")) == 0 {
			t.Errorf("the schema takes %.60s", bad)
		}
	}
}

// full is a slot of which all is known.
func full() Slot {
	var s Slot
	fill(reflect.ValueOf(&s).Elem())
	s.Sandbox.Boot = (&Boot{Watched: true}).With(SYNACK, time.Unix(1, 0))
	return s
}

// fill gives every field a value that is not its zero.
func fill(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
	case v.Type() == reflect.TypeFor[Boot]():
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("reason").Convert(v.Type().Key()), reflect.New(v.Type().Elem()).Elem())
	case v.Kind() == reflect.String:
		v.SetString("text")
		if of := words[v.Type()]; of != nil {
			v.SetString(of[0])
		}
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	}
}

// violations is what of a value is not as a schema of ours says, of what such a
// schema can say.
func violations(s map[string]any, v any, at string) (bad []string) {
	kind := kindOf(v)
	types, _ := s["type"].([]any)
	fits := s["type"] == kind || slices.Contains(types, any(kind)) || s["type"] == "number" && kind == "integer"
	if !fits {
		return []string{fmt.Sprintf("%s is %s, not %v", at, kind, s["type"])}
	}
	if enum, ok := s["enum"].([]any); ok && kind == "string" && !slices.Contains(enum, v) {
		bad = append(bad, fmt.Sprintf("%s is %v, not of %v", at, v, enum))
	}
	switch v := v.(type) {
	case []any:
		for i, x := range v {
			bad = append(bad, violations(s["items"].(map[string]any), x, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for k, x := range v {
			of, ok := properties[k].(map[string]any)
			if !ok {
				of, ok = s["additionalProperties"].(map[string]any)
			}
			if !ok {
				bad = append(bad, at+"."+k+" is not in the schema")
				continue
			}
			bad = append(bad, violations(of, x, at+"."+k)...)
		}
		required, _ := s["required"].([]any)
		for _, k := range required {
			if _, ok := v[k.(string)]; !ok {
				bad = append(bad, at+"."+k.(string)+" is missing")
			}
		}
	}
	return bad
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
