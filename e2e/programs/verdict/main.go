// Command verdict says what other programs make of objects that are files:
//
//	verdict health SCRIPT OBJECT…     kstatus (which Flux and Helm use), and Argo CD's health by SCRIPT, a line of JSON for each
//	verdict discover SCRIPT OBJECT…   the actions that SCRIPT offers
//	verdict act SCRIPT OBJECT…        the object that SCRIPT returns
//
// The Lua is what Argo CD gives a script that does not ask for more: the base and table libraries, and one second.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: verdict health|discover|act SCRIPT OBJECT…"))
	}
	script, err := os.ReadFile(os.Args[2])
	if err != nil {
		fail(err)
	}
	for _, path := range os.Args[3:] {
		object, err := read(path)
		if err != nil {
			fail(fmt.Errorf("failed to read %s: %w", path, err))
		}
		said, err := run(object.Object, string(script))
		if err != nil {
			fail(fmt.Errorf("failed to run %s on %s: %w", os.Args[2], path, err))
		}
		line := map[string]any{"path": path, "lua": said}
		if os.Args[1] == "health" {
			found, err := status.Compute(object)
			if err != nil {
				fail(fmt.Errorf("kstatus cannot read %s: %w", path, err))
			}
			line["kstatus"] = found.Status.String()
		}
		if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "verdict:", err)
	os.Exit(1)
}

func read(path string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(text)
}

func run(object map[string]any, script string) (any, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		call := lua.P{Fn: l.NewFunction(library.open), Protect: true}
		if err := l.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.SetContext(limit)
	l.SetGlobal("obj", into(l, object))
	if err := l.DoString(script); err != nil {
		return nil, err
	}
	return from(l.Get(-1)), nil
}

func into(l *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case map[string]any:
		table := l.NewTable()
		for name, field := range value {
			table.RawSetString(name, into(l, field))
		}
		return table
	case []any:
		table := l.NewTable()
		for _, item := range value {
			table.Append(into(l, item))
		}
		return table
	}
	return lua.LNil
}

func from(value lua.LValue) any {
	switch value := value.(type) {
	case lua.LBool:
		return bool(value)
	case lua.LString:
		return string(value)
	case lua.LNumber:
		if number := float64(value); number == math.Trunc(number) {
			return int64(number)
		}
		return float64(value)
	case *lua.LTable:
		if length := value.Len(); length > 0 {
			items := make([]any, 0, length)
			for i := 1; i <= length; i++ {
				items = append(items, from(value.RawGetInt(i)))
			}
			return items
		}
		fields := map[string]any{}
		value.ForEach(func(name, field lua.LValue) { fields[name.String()] = from(field) })
		return fields
	}
	return nil
}
