// Node's http and http2 modules as server and as client: what pods run when a test must see that a widespread implementation
// gets exactly what another one sent.
//
//   node web.mjs serve PORT PORT-OF-HTTP/2
//   node web.mjs told PORT
//   node web.mjs ask 1|2 ADDRESS HOST BYTES
//
// What is served, told and asked is as of tests/peers/go/web.go. A client exits with 0 when every answer was right.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const PERIOD = 65521
const once = Buffer.from(Array.from({ length: PERIOD }, (_, i) => (i + (i >> 8)) & 255))

function * pattern (bytes) {
  for (; bytes > PERIOD; bytes -= PERIOD) yield once
  if (bytes > 0) yield once.subarray(0, bytes)
}

const sha256 = (content) => createHash('sha256').update(content).digest('hex')
const whole = async (stream) => {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

async function answer (request, response) {
  const [, what, argument] = request.url.split('/')
  if (what === 'bytes') {
    // An answer that overtakes its request could reach a client that has yet to break a rule with the rest of it.
    if (await whole(request).catch(() => null) === null) return
    const hash = createHash('sha256')
    response.setHeader('trailer', 'x-sha256')
    // Of content without a byte, Node's HTTP/2 would make a head that ends the stream, without trailers.
    response.flushHeaders()
    const content = function * () {
      for (const part of pattern(Number(argument))) {
        hash.update(part)
        yield part
      }
    }
    await pipeline(Readable.from(content()), response, { end: false })
    response.addTrailers({ 'x-sha256': hash.digest('hex') })
    response.end()
  } else if (what === 'echo') {
    const content = await whole(request)
    response.setHeader('content-length', content.length)
    response.end(content)
  } else if (what === 'sum') {
    const content = await whole(request)
    response.end(JSON.stringify({ bytes: content.length, sha256: sha256(content) }))
  } else {
    request.resume()
    response.writeHead(what === 'status' ? Number(argument) : 404)
    response.end()
  }
}

function serve (port, http2Port) {
  http.createServer(answer).listen(port, '::')
  http2.createServer(answer).listen(http2Port, '::')
}

function told (port) {
  http.createServer(async (request, response) => {
    const content = await whole(request).catch(() => null)
    if (content === null) return
    const { method, url, headers: { host = '' } } = request
    process.stdout.write(`${port} ${method} ${url} ${host} ${content.length} ${content.toString('hex')}\n`)
    response.end('told')
  }).listen(port, '::')
}

// Sends requests one after the other on one connection; each call gives status, fields, content and trailers.
function client1 (address, host) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const sockets = new Set()
  const ask = (method, path, content) => new Promise((resolve, reject) => {
    const to = { host: address.hostname.replace(/[[\]]/g, ''), port: address.port || 80, headers: { host }, agent, method, path }
    const request = http.request(to, async (response) => {
      sockets.add(request.socket)
      const { statusCode: status, headers, httpVersion } = response
      assert.equal(httpVersion, '1.1')
      resolve({ status, headers, content: await whole(response), trailers: response.trailers })
    })
    request.on('error', reject)
    if (content) pipeline(content, request).catch(reject)
    else request.end()
  })
  return { ask, end: () => { assert.equal(sockets.size, 1, 'connections'); agent.destroy() } }
}

function client2 (address, host) {
  const connect = () => net.connect(Number(address.port || 80), address.hostname.replace(/[[\]]/g, ''))
  const session = http2.connect(`http://${host}`, { createConnection: connect })
  const ask = (method, path, content) => new Promise((resolve, reject) => {
    const stream = session.request({ ':method': method, ':path': path }, { endStream: !content })
    let headers, trailers
    stream.on('response', (fields) => { headers = fields })
    stream.on('trailers', (fields) => { trailers = fields })
    stream.on('error', reject)
    whole(stream).then((content) => resolve({ status: headers[':status'], headers, content, trailers }), reject)
    if (content) pipeline(content, stream).catch(reject)
  })
  return { ask, end: () => session.close() }
}

async function everything ({ ask, end }, size) {
  for (const bytes of [0, 1, size]) {
    const all = Buffer.concat([...pattern(bytes)])
    const got = await ask('GET', `/bytes/${bytes}`)
    assert.equal(got.status, 200)
    assert.ok(got.content.equals(all), `${got.content.length} of ${bytes} bytes`)
    assert.equal(got.trailers['x-sha256'], sha256(all))
    const told = await ask('POST', '/sum', Readable.from(pattern(bytes)))
    assert.deepEqual(JSON.parse(told.content), { bytes, sha256: sha256(all) })
    const echo = await ask('POST', '/echo', Readable.from(pattern(bytes)))
    assert.ok(echo.content.equals(all), `${echo.content.length} of ${bytes} bytes came back`)
    assert.equal(Number(echo.headers['content-length']), bytes)
  }
  for (const status of [200, 204, 304, 404, 418, 503]) {
    const got = await ask('GET', `/status/${status}`)
    assert.deepEqual([got.status, got.content.length], [status, 0])
  }
  end()
}

const [what, ...rest] = process.argv.slice(2)
if (what === 'serve') {
  serve(Number(rest[0]), Number(rest[1]))
} else if (what === 'told') {
  told(Number(rest[0]))
} else {
  const [version, address, host, bytes] = rest
  const client = version === '2' ? client2 : client1
  await everything(client(new URL(`http://${address}`), host), Number(bytes))
}
