package guest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd/guest"
	pb "tapwatch/internal/sandbox/envd/proto/process"
)

func get(t *testing.T, url, token string) (status int, body map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-Access-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
	}
	return resp.StatusCode, body
}

func TestAccessToken(t *testing.T) {
	url, c := daemon(t, guest.Config{})
	if code := post(t, url+"/init", "", `{"accessToken":"s3cret"}`); code != http.StatusNoContent {
		t.Fatalf("init: %d", code)
	}
	for _, tc := range []struct {
		path, token string
		want        int
	}{
		{"/health", "", 204},
		{"/metrics", "", 401}, {"/metrics", "wrong", 401}, {"/metrics", "s3cret", 200},
		{"/envs", "", 401}, {"/envs", "s3cret", 200},
	} {
		status, body := get(t, url+tc.path, tc.token)
		if status != tc.want {
			t.Errorf("%s with %q: %d, want %d", tc.path, tc.token, status, tc.want)
		}
		if tc.want == 401 && (body["code"] != 401.0 || body["message"] == "") {
			t.Errorf("%s: body %v", tc.path, body)
		}
	}
	_, err := run(t, c, connect.NewRequest(shell("true")))
	wantCode(t, err, connect.CodeUnauthenticated)
	req := connect.NewRequest(shell("true"))
	req.Header().Set("X-Access-Token", "s3cret")
	if r, err := run(t, c, req); err != nil || r.end.GetExitCode() != 0 {
		t.Errorf("with the token: %v, %v", r.end, err)
	}
}

func TestInitAgain(t *testing.T) {
	url, _ := daemon(t, guest.Config{})
	for _, tc := range []struct {
		name, token, body string
		want              int
	}{
		{"no body", "", "", 204},
		{"not JSON", "", "{", 400},
		{"unknown user", "", `{"defaultUser":"nonesuch"}`, 400},
		{"first token", "", `{"accessToken":"a"}`, 204},
		{"without token", "", `{"envVars":{"X":"1"}}`, 401},
		{"another token", "", `{"accessToken":"b"}`, 401},
		{"the same token", "", `{"accessToken":"a"}`, 204},
		{"token in the header", "a", `{"accessToken":"b"}`, 204},
		{"the old one", "a", `{}`, 401},
	} {
		if code := post(t, url+"/init", tc.token, tc.body); code != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, code, tc.want)
		}
	}
}

func TestInitSetsWhatCommandsGet(t *testing.T) {
	nettest.NeedRoot(t) // for the default user
	url, c := daemon(t, guest.Config{})
	body := `{"envVars":{"A":"init","B":"init"},"defaultUser":"daemon","defaultWorkdir":"/usr/bin","timestamp":"2026-01-02T03:04:05Z"}`
	if code := post(t, url+"/init", "", body); code != http.StatusNoContent {
		t.Fatalf("init: %d", code)
	}
	_, envs := get(t, url+"/envs", "")
	if envs["A"] != "init" || len(envs) != 2 {
		t.Errorf("envs %v", envs)
	}
	req := shell(`echo $A $B $USER $HOME $(id -un) $PWD`)
	req.Process.Cwd, req.Process.Envs = nil, map[string]string{"B": "request"}
	r, err := run(t, c, connect.NewRequest(req))
	if want := "init request daemon /usr/sbin daemon /usr/bin\n"; err != nil || r.stdout != want {
		t.Errorf("got %q, %q, %v, want %q", r.stdout, r.stderr, err, want)
	}
}

func TestUserOfTheRequest(t *testing.T) {
	nettest.NeedRoot(t)
	_, c := daemon(t, guest.Config{})
	r, err := run(t, c, as(connect.NewRequest(shell("id -un; id -gn; id -Gn; echo $HOME; touch /root/x 2>/dev/null || echo refused")), "nobody"))
	if want := "nobody\nnogroup\nnogroup\n/nonexistent\nrefused\n"; err != nil || r.stdout != want {
		t.Errorf("got %q, %v, want %q", r.stdout, err, want)
	}
	if got, err := run(t, c, as(connect.NewRequest(shell("id -u")), "root")); err != nil || got.stdout != "0\n" {
		t.Errorf("root: %q, %v", got.stdout, err)
	}
	req := shell("tty; test -r $(tty) && test -O $(tty) && echo mine")
	req.Pty = &pb.PTY{}
	if got, err := run(t, c, as(connect.NewRequest(req), "nobody")); err != nil || !strings.HasSuffix(got.pty, "mine\r\n") {
		t.Errorf("terminal: %q, %v", got.pty, err)
	}
}

func TestClock(t *testing.T) {
	var set []time.Time
	url, _ := daemon(t, guest.Config{SetClock: func(at time.Time) error {
		set = append(set, at)
		return nil
	}})
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, at := range []time.Time{past, time.Now(), future, past, future} {
		b, _ := json.Marshal(map[string]any{"timestamp": at})
		if code := post(t, url+"/init", "", string(b)); code != http.StatusNoContent {
			t.Fatalf("init: %d", code)
		}
	}
	// Now is right as it is; the last two are no newer than what was seen.
	if len(set) != 2 || !set[0].Equal(past) || !set[1].Equal(future) {
		t.Errorf("clock set to %v, want %v and %v", set, past, future)
	}
}

func TestMetrics(t *testing.T) {
	url, _ := daemon(t, guest.Config{})
	_, m := get(t, url+"/metrics", "")
	number := func(key string) float64 {
		v, ok := m[key].(float64)
		if !ok {
			t.Errorf("%s is %v", key, m[key])
		}
		return v
	}
	if used, total := number("mem_used"), number("mem_total"); used <= 0 || used >= total {
		t.Errorf("memory %v of %v", used, total)
	}
	if used, total := number("disk_used"), number("disk_total"); used <= 0 || used > total {
		t.Errorf("disk %v of %v", used, total)
	}
	if pct := number("cpu_used_pct"); pct <= 0 || pct > 100 {
		t.Errorf("cpu %v%%", pct)
	}
	if number("cpu_count") < 1 || number("ts") < 1e9 {
		t.Errorf("metrics %v", m)
	}
}
