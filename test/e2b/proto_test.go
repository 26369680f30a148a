package e2b

import (
	"bytes"
	"encoding/base64"
	"os"
	"regexp"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd/proto/filesystem"
	"tapwatch/internal/sandbox/envd/proto/process"
)

var embedded = regexp.MustCompile(`fileDesc\("([A-Za-z0-9+/]+)"`)

// The .proto files were written by hand. The SDK carries E2B's own, compiled:
// all that is in ours must be there, with the same numbers and types.
func TestProtoFitsTheSDK(t *testing.T) {
	nettest.NeedRoot(t)
	installSDK(t)
	source, err := os.ReadFile("node_modules/e2b/dist/index.mjs")
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]*descriptorpb.FileDescriptorProto{}
	for _, m := range embedded.FindAllSubmatch(source, -1) {
		b, err := base64.RawStdEncoding.DecodeString(string(bytes.TrimRight(m[1], "=")))
		if err != nil {
			t.Fatal(err)
		}
		var f descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		theirs[f.GetName()] = &f
	}
	for _, ours := range []protoreflect.FileDescriptor{process.File_process_process_proto, filesystem.File_filesystem_filesystem_proto} {
		file := theirs[ours.Path()]
		if file == nil {
			t.Errorf("the SDK has no %s, but %d others", ours.Path(), len(theirs))
			continue
		}
		has := names(file)
		for name := range names(protodesc.ToFileDescriptorProto(ours)) {
			if !has[name] {
				t.Errorf("%s: the SDK has no %s", ours.Path(), name)
			}
		}
	}
}

// names lists all that matters on the wire, one line each.
func names(f *descriptorpb.FileDescriptorProto) map[string]bool {
	all := map[string]bool{"package " + f.GetPackage(): true}
	var message func(in string, m *descriptorpb.DescriptorProto)
	message = func(in string, m *descriptorpb.DescriptorProto) {
		in += "." + m.GetName()
		for _, d := range m.GetField() {
			oneof := ""
			if d.OneofIndex != nil {
				oneof = m.GetOneofDecl()[d.GetOneofIndex()].GetName()
			}
			plain := &descriptorpb.FieldDescriptorProto{Name: d.Name, Number: d.Number, Type: d.Type, TypeName: d.TypeName, Label: d.Label, Proto3Optional: d.Proto3Optional}
			all[in+" field in ["+oneof+"] "+plain.String()] = true
		}
		for _, n := range m.GetNestedType() {
			message(in, n)
		}
	}
	for _, m := range f.GetMessageType() {
		message("", m)
	}
	for _, e := range f.GetEnumType() {
		for _, v := range e.GetValue() {
			all[e.GetName()+" value "+v.String()] = true
		}
	}
	for _, s := range f.GetService() {
		for _, m := range s.GetMethod() {
			plain := &descriptorpb.MethodDescriptorProto{Name: m.Name, InputType: m.InputType, OutputType: m.OutputType,
				ClientStreaming: proto.Bool(m.GetClientStreaming()), ServerStreaming: proto.Bool(m.GetServerStreaming())}
			all[s.GetName()+" method "+plain.String()] = true
		}
	}
	return all
}
