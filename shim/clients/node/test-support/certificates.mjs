// Certificates for tests, made by the command openssl.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'aft-certificates-'))
const at = name => join(folder, name)
const openssl = (...given) => execFileSync('openssl', given, { stdio: ['ignore', 'ignore', 'pipe'] })

// Returns the paths of a root's certificate and key.
export function makeRoot (name) {
  const root = { certificate: at(`${name}.pem`), key: at(`${name}.key`) }
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
    '-keyout', root.key, '-out', root.certificate)
  return root
}

// Returns the paths of a certificate that `root` has signed, and of its key. `days` below 0 is a
// certificate that has expired.
export function makeCertificate (root, name, { names = 'IP:127.0.0.1', days = 2 } = {}) {
  const made = { certificate: at(`${name}.pem`), key: at(`${name}.key`) }
  const [request, extensions] = [at(`${name}.csr`), at(`${name}.ext`)]
  writeFileSync(extensions, `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`)
  openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', `/CN=${name}`, '-keyout', made.key,
    '-out', request)
  openssl('x509', '-req', '-in', request, '-CA', root.certificate, '-CAkey', root.key, '-CAcreateserial', '-days', `${days}`,
    '-extfile', extensions, '-out', made.certificate)
  return made
}
