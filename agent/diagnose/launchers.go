package diagnose

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"tapwatch/agent/path"
)

// launcher is what a reader needs to know of whoever launched a sandbox. {id} stands for
// the sandbox's id, {pid} for the VMM's. The words stand in the middle of
// a sentence, those of logs and log in brackets.
type launcher struct {
	name  string
	logs  string // where the VMM's words and the guest's console are
	log   string // where the launcher's own words are
	anew  string // an order: end the sandbox and start another
	exec  string // the command that runs another in the guest, by its daemon; empty: none is known
	shell string // the command that leads into the guest without the daemon; empty: none is known
}

// ours is Tapwatch's own launcher.
var ours = launcher{
	name: "Tapwatch's launcher", logs: "tapwatch sandbox logs {id}", log: "the log of tapwatch serve",
	anew: "kill the sandbox (tapwatch sandbox kill {id}) and create it anew",
	exec: "tapwatch sandbox exec {id} --",
}

// launchers is those of others, by path.Sandbox.Source.
var launchers = map[string]launcher{
	"e2b": { // fc/process.go sends the VMM's output to the orchestrator's own log
		name: "E2B's orchestrator", logs: "the log of E2B's orchestrator, the lines with {id}; under Nomad: nomad alloc logs ALLOCATION start",
		log:  "the log of E2B's orchestrator; under Nomad: nomad alloc logs ALLOCATION start",
		anew: "kill the sandbox (e2b sandbox kill {id}) and create it anew", exec: "e2b sandbox exec {id}",
	},
	"libvirt": {
		name: "libvirt", logs: "/var/log/libvirt/qemu/{id}.log, and virsh console {id}", log: "journalctl -u libvirtd -u virtqemud",
		anew: "end the domain and start it anew (virsh destroy {id}; virsh start {id})", shell: "virsh console {id}",
	},
	"kata": {
		name: "Kata Containers", logs: "journalctl -t kata, the lines with {id}", log: "journalctl -t kata -u containerd -u crio",
		anew: "remove the pod's sandbox, which Kubernetes then makes anew (crictl stopp {id}; crictl rmp {id})", shell: "kata-runtime exec {id}",
	},
	"nomad": {
		name: "Nomad", logs: "nomad alloc logs -stderr {id}", log: "journalctl -u nomad",
		anew: "stop the allocation, which Nomad then places anew (nomad alloc stop {id})",
	},
	"kubernetes": {
		name: "Kubernetes", logs: "kubectl logs of the pod whose metadata.uid is {id}", log: "journalctl -u kubelet",
		anew: "delete the pod whose metadata.uid is {id} (kubectl delete pod): what owns it makes it anew",
	},
	"firecracker-containerd": {name: "firecracker-containerd", logs: "the log of firecracker-containerd, the lines with {id}", log: "the log of firecracker-containerd"},
	"forkd":                  {name: "forkd"},
	"firecracker":            {name: "whoever started this Firecracker"},
	"cloud-hypervisor":       {name: "whoever started this Cloud Hypervisor"},
	"qemu":                   {name: "whoever started this QEMU"},
}

// outputs are the options that name the files to which a VMM of that kind writes.
var outputs = map[string]string{
	"firecracker": "--log-path", "cloud-hypervisor": "--log-file and --serial", "qemu": "-D and -serial",
}

// launchedBy is the launcher of a sandbox; what is not known of it is said in words that
// hold for all.
func launchedBy(f path.Facts) launcher {
	s := f.Sandbox
	l := ours
	if s.Foreign {
		l = launchers[s.Source]
		l.name = cmp.Or(l.name, s.Source, "its launcher")
		l.logs = cmp.Or(l.logs, output(s))
		l.log = cmp.Or(l.log, "the log of "+l.name)
		l.anew = cmp.Or(l.anew, "have "+l.name+" end the sandbox and start it anew")
	}
	values := strings.NewReplacer("{id}", word(s.ID), "{pid}", strconv.Itoa(s.VMMPID))
	for _, words := range []*string{&l.logs, &l.log, &l.anew, &l.exec, &l.shell} {
		*words = values.Replace(*words)
	}
	return l
}

// output says where a VMM writes that nothing but its own command line tells of.
func output(s *path.Sandbox) string {
	words := "where the VMM's standard output and error go"
	if s.VMMPID != 0 && s.VMMAlive != path.No {
		words += ": ls -l /proc/{pid}/fd/1 /proc/{pid}/fd/2"
	}
	if option := outputs[s.Source]; option != "" {
		words += "; and the files of its options " + option
	}
	return words
}

var safeWord = regexp.MustCompile(`^[\w.:/+-]+$`)

// word is a string as one word of a command line.
func word(s string) string {
	if safeWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// logs says where the VMM's words and the guest's console are.
func logs(f path.Facts) string {
	if f.Sandbox.Foreign && f.Sandbox.ConsoleFile != "" {
		return f.Sandbox.ConsoleFile
	}
	return launchedBy(f).logs
}

// launcherLog says where the launcher's own words are.
func launcherLog(f path.Facts) string { return launchedBy(f).log }

// anew is the order to end the sandbox and start another.
func anew(f path.Facts) string { return launchedBy(f).anew }

// slotAnew is the order to make the sandbox's namespace anew, with what leads to it.
func slotAnew(f path.Facts) string {
	if l := launchedBy(f); f.Sandbox.Foreign {
		return "have " + l.name + " make the network of the sandbox anew"
	}
	return anew(f) + ", in a new slot"
}

// inGuest is a command that is to run in a guest whose daemon answers.
func inGuest(f path.Facts, command string) string {
	if exec := launchedBy(f).exec; exec != "" {
		return exec + " " + command
	}
	return command + " in the guest"
}

// lookInside is how to look at something in a guest whose daemon does not answer.
func lookInside(f path.Facts, at string) string {
	switch l := launchedBy(f); {
	case l.shell != "":
		return "by " + l.shell + " look at " + at
	case l.exec != "": // nothing but the daemon leads into such a guest
		return "create another sandbox of the same template: where that fails too, look in the template at " + at + "; else a program in this one is at fault"
	}
	return "by a shell on the guest's console, if it has one, look at " + at
}

// byShell is an order to do something in such a guest, where a command is known to lead
// into it, and else to end the sandbox.
func byShell(f path.Facts, order string) string {
	if shell := launchedBy(f).shell; shell != "" {
		return "; by " + shell + " " + order + "; else " + anew(f)
	}
	return "; then " + anew(f)
}

// templateCheck is the command that checks what the sandbox boots from.
func templateCheck(f path.Facts) string {
	if f.Template == nil {
		return "tapwatch template check DIR, with the directory or the image of its template"
	}
	return "tapwatch template check " + word(f.Template.Dir)
}
