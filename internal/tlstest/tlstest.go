// Package tlstest makes an authority and its certificates, in files, for tests.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is one that nobody else knows.
type Authority struct {
	File string // its certificate, in PEM
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate with its key, each in PEM.
type Pair struct {
	CertFile, KeyFile string
	tls.Certificate
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{cert: template("earlybind's tests"), key: newKey(t)}
	a.cert.IsCA, a.cert.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	must(t, err)
	a.File = write(t, "CERTIFICATE", der)
	return a
}

// Issue makes a certificate for a name, of a server and of a client.
func (a *Authority) Issue(t testing.TB, name string) Pair {
	t.Helper()
	c, key := template(name), newKey(t)
	c.DNSNames, c.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	p := Pair{CertFile: write(t, "CERTIFICATE", der), KeyFile: write(t, "PRIVATE KEY", raw)}
	p.Certificate, err = tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	must(t, err)
	return p
}

// Pool has the authority alone.
func (a *Authority) Pool(t testing.TB) *x509.CertPool {
	t.Helper()
	raw, err := os.ReadFile(a.File)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	return pool
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// write makes a file that every user can read: a server in a container is another one.
func write(t testing.TB, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pem")
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
