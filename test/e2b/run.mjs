// The stock e2b SDK against a launcher, told by E2B_API_URL, E2B_SANDBOX_URL and
// E2B_API_KEY where it is. One line for each thing that is right; the first that
// is wrong ends the run with status 1. This is the call that failed in the
// incident, and what its users do next.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { CommandExitError, FileNotFoundError, Sandbox, SandboxNotFoundError, TimeoutError } from 'e2b'

const marker = randomUUID() // finds our sandbox in lists that may hold others'
let sandbox

async function step(name, fn) {
  const start = performance.now()
  await fn()
  console.log(`ok ${name} (${Math.round(performance.now() - start)} ms)`)
}

async function all() {
  await step('create', async () => {
    sandbox = await Sandbox.create({
      envs: { FROM_CREATE: 'yes' },
      metadata: { marker, 'odd key&=': 'odd value %/' },
      timeoutMs: 120_000,
    })
    assert.match(sandbox.sandboxId, /^[a-z0-9]+$/)
  })
  await step('commands.run', async () => {
    const r = await sandbox.commands.run("python3 -c 'print(6*7)'")
    assert.deepEqual([r.stdout, r.stderr, r.exitCode], ['42\n', '', 0])
  })
  await step('isRunning', async () => assert.equal(await sandbox.isRunning(), true))
  await step('output streams while the command runs', streaming)
  await step('non-zero exit', async () => {
    await assert.rejects(sandbox.commands.run('echo out; echo err >&2; exit 7'), (e) => {
      assert(e instanceof CommandExitError, `got ${e}`)
      assert.deepEqual([e.exitCode, e.stdout, e.stderr], [7, 'out\n', 'err\n'])
      return true
    })
  })
  await step('envs, cwd and user', environment)
  await step('timeout of a command', async () => {
    await assert.rejects(sandbox.commands.run('sleep 1000', { timeoutMs: 1500 }), TimeoutError)
  })
  await step('background command, kill', background)
  await step('stdin', stdin)
  await step('pty', pty)
  await step('files', files)
  await step('watch a directory', watching)
  await step('getInfo, list, connect, setTimeout, metrics', lifecycle)
  await step('an unknown template is named', async () => {
    await assert.rejects(Sandbox.create('no-such-template'), /no-such-template/)
  })
  await step('kill', async () => assert.equal(await sandbox.kill(), true))
  await step('isRunning after kill', async () => assert.equal(await sandbox.isRunning(), false))
  await step('a killed sandbox is unknown', async () => {
    assert.equal(await sandbox.kill(), false)
    await assert.rejects(Sandbox.connect(sandbox.sandboxId), SandboxNotFoundError)
  })
}

// The second half is written only after the first has come out here.
async function streaming() {
  const pieces = []
  const handle = await sandbox.commands.run('echo one; until [ -e /tmp/go ]; do sleep 0.1; done; echo two', {
    background: true,
    onStdout: (data) => pieces.push(data),
  })
  while (pieces.length === 0) await new Promise((r) => setTimeout(r, 20))
  assert.deepEqual(pieces, ['one\n'])
  await sandbox.commands.run('touch /tmp/go')
  const r = await handle.wait()
  assert.deepEqual(pieces, ['one\n', 'two\n'])
  assert.equal(r.stdout, 'one\ntwo\n')
}

async function environment() {
  const r = await sandbox.commands.run('echo $FROM_CREATE $OWN $PWD $(id -un)', { envs: { OWN: '1' }, cwd: '/usr', user: 'root' })
  assert.equal(r.stdout, 'yes 1 /usr root\n')
}

async function background() {
  const handle = await sandbox.commands.run('sleep 1000', { background: true })
  const listed = (await sandbox.commands.list()).find((p) => p.pid === handle.pid)
  assert.deepEqual([listed?.cmd, listed?.args], ['/bin/bash', ['-l', '-c', 'sleep 1000']])
  assert.equal(await handle.kill(), true)
  await assert.rejects(handle.wait(), CommandExitError)
  assert.equal(await sandbox.commands.kill(handle.pid), false)
}

async function stdin() {
  const handle = await sandbox.commands.run('read line; echo "got $line"; cat', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, 'hello\nrest')
  await sandbox.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).stdout, 'got hello\nrest')
}

async function pty() {
  let out = ''
  const terminal = await sandbox.pty.create({
    cols: 91, rows: 17, cwd: '/', onData: (bytes) => { out += new TextDecoder().decode(bytes) },
  })
  await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('stty size; exit 3\n'))
  await assert.rejects(terminal.wait(), CommandExitError)
  assert.match(out, /17 91/)
}

async function files() {
  const { files } = sandbox
  const written = await files.write('notes/a.txt', 'one') // relative to the user's home
  assert.deepEqual([written.path, written.name, written.type], ['/home/user/notes/a.txt', 'a.txt', 'file'])
  assert.equal(await files.read('notes/a.txt'), 'one')
  const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251)
  await files.write([{ path: '/tmp/b', data: bytes.buffer }, { path: '/tmp/c', data: '' }])
  assert.deepEqual(await files.read('/tmp/b', { format: 'bytes' }), bytes)
  assert.equal(await files.read('/tmp/c'), '')
  assert.equal(await files.makeDir('/tmp/d'), true)
  assert.equal(await files.makeDir('/tmp/d'), false)
  const moved = await files.rename('/tmp/b', '/home/user/b')
  assert.deepEqual([moved.path, moved.size, moved.owner], ['/home/user/b', bytes.length, 'user'])
  assert.deepEqual((await files.list('/home/user', { depth: 2 })).filter((e) => !e.name.startsWith('.')).map((e) => [e.name, e.type]),
    [['b', 'file'], ['notes', 'dir'], ['a.txt', 'file']])
  assert.equal((await files.getInfo('notes/a.txt')).permissions, '-rw-r--r--')
  await files.remove('notes')
  assert.equal(await files.exists('notes'), false)
  await assert.rejects(files.read('notes/a.txt'), FileNotFoundError)
  const response = await fetch(await sandbox.downloadUrl('/home/user/b', { useSignatureExpiration: 60 }), {
    headers: { 'E2b-Sandbox-Id': sandbox.sandboxId }, // where no DNS name leads to the sandbox
  })
  assert.equal((await response.arrayBuffer()).byteLength, bytes.length, `status ${response.status}`)
}

async function watching() {
  await sandbox.files.makeDir('/tmp/watched')
  const seen = new Set()
  const handle = await sandbox.files.watchDir('/tmp/watched', (e) => seen.add(`${e.type} ${e.name}`))
  await sandbox.files.write('/tmp/watched/f', 'x')
  for (let i = 0; i < 250 && !(seen.has('create f') && seen.has('write f')); i++) await new Promise((r) => setTimeout(r, 20))
  assert(seen.has('create f') && seen.has('write f'), `saw ${[...seen]}`)
  await handle.stop()
}

async function lifecycle() {
  const info = await sandbox.getInfo()
  assert.deepEqual([info.sandboxId, info.state, info.metadata.marker], [sandbox.sandboxId, 'running', marker])
  assert(info.endAt - info.startedAt >= 60_000)
  const page = await Sandbox.list({ query: { metadata: { marker, 'odd key&=': 'odd value %/' } }, limit: 1 }).nextItems()
  assert.deepEqual(page.map((s) => s.sandboxId), [sandbox.sandboxId])
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal((await again.commands.run('echo again')).stdout, 'again\n')
  await sandbox.setTimeout(600_000)
  assert((await sandbox.getInfo()).endAt - Date.now() > 500_000)
  const [m] = await sandbox.getMetrics()
  assert(m.memTotal > 0 && m.memUsed > 0 && m.cpuCount >= 1, JSON.stringify(m))
}

try {
  await all()
} catch (e) {
  console.log(`WRONG: ${e.stack ?? e}`)
  if (e.cause) console.log(`cause: ${e.cause}`)
  process.exitCode = 1
  await sandbox?.kill().catch(() => {})
}
