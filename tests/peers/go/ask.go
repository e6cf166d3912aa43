package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// asked is a client and what it asks.
type asked struct {
	client  http.Client
	base    string
	version string
	// connections is how many the client has opened.
	connections int
}

func ask(what string, arguments []string) error {
	flags := flag.NewFlagSet(what, flag.ExitOnError)
	http2 := flags.Bool("http2", false, "HTTP/2 with prior knowledge")
	host := flags.String("host", "", "authority of the requests")
	count := flags.Int64("count", 100, "how many events")
	size := flags.Int64("bytes", 1_000_003, "bytes of content")
	upload := flags.Bool("upload", false, "the server is the one that does not read")
	patience := flags.Duration("patience", 30*time.Second, "for all of it")
	flags.Parse(arguments)
	to := newAsked(flags.Arg(0), *host, *http2, *patience)
	switch what {
	case "stall":
		return to.stall(*upload)
	case "bulk":
		return to.bulk(*size)
	case "events":
		return to.events(*count)
	}
	return to.everything(*size)
}

func newAsked(address, host string, http2 bool, patience time.Duration) *asked {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	to := &asked{base: "http://" + host, version: "HTTP/1.1"}
	if http2 {
		to.version = "HTTP/2.0"
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	to.client = http.Client{
		Timeout:   patience,
		Transport: &http.Transport{Protocols: &protocols, DialContext: dial, DisableCompression: true, HTTP2: &smallWindows},
	}
	return to
}

// do sends a request and checks status and version of the answer.
func (a *asked) do(method, path string, content io.Reader, status int, fields ...string) (*http.Response, error) {
	request, err := http.NewRequest(method, a.base+path, content)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	got := func(info httptrace.GotConnInfo) {
		if !info.Reused {
			a.connections++
		}
	}
	trace := &httptrace.ClientTrace{GotConn: got}
	response, err := a.client.Do(request.WithContext(httptrace.WithClientTrace(context.Background(), trace)))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != status || response.Proto != a.version {
		text, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("%s %s: %s %s, expected %d: %q", method, path, response.Proto, response.Status, status, text)
	}
	return response, nil
}

// everything asks for all that the server has, on one connection.
func (a *asked) everything(size int64) error {
	for _, bytes := range []int64{0, 1, size} {
		if err := a.download(bytes); err != nil {
			return err
		}
		if err := a.upload(bytes); err != nil {
			return err
		}
		if err := a.echo(bytes); err != nil {
			return err
		}
	}
	for _, status := range []int{200, 204, 304, 404, 418, 503} {
		response, err := a.do("GET", fmt.Sprintf("/status/%d", status), nil, status)
		if err != nil {
			return err
		}
		if text, err := io.ReadAll(response.Body); err != nil || len(text) > 0 {
			return fmt.Errorf("content of status %d: %q, %w", status, text, err)
		}
	}
	if a.connections != 1 {
		return fmt.Errorf("%d connections were opened, for requests one after the other", a.connections)
	}
	return nil
}

func (a *asked) echo(size int64) error {
	sent, _ := io.ReadAll(newPattern(size))
	response, err := a.do("POST", "/echo", bytes.NewReader(sent), 200)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Equal(got, sent) || response.ContentLength != size {
		return fmt.Errorf("echo of %d bytes: %d, announced %d, %w", size, len(got), response.ContentLength, err)
	}
	return nil
}

// download asks for bytes whose number is not announced; the trailer and we must find the same sum.
func (a *asked) download(size int64) error {
	expected, _ := sumOf(newPattern(size))
	response, err := a.do("GET", fmt.Sprintf("/bytes/%d", size), nil, 200)
	if err != nil {
		return err
	}
	got, err := sumOf(response.Body)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", got.Bytes, size, err)
	}
	if told := response.Trailer.Get("x-sha256"); got != expected || told != expected.SHA256 {
		return fmt.Errorf("got %v, the trailer says %q, expected %v", got, told, expected)
	}
	return nil
}

// upload sends bytes whose number is not announced; the server and we must find the same sum.
func (a *asked) upload(size int64) error {
	expected, _ := sumOf(newPattern(size))
	content := struct{ io.Reader }{newPattern(size)}
	response, err := a.do("POST", "/sum", content, 200)
	if err != nil {
		return err
	}
	var told sum
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		return err
	}
	io.Copy(io.Discard, response.Body)
	if told != expected {
		return fmt.Errorf("the server got %v of %v", told, expected)
	}
	return nil
}

// bulk moves much, both ways, and says how long it took.
func (a *asked) bulk(size int64) error {
	start := time.Now()
	if err := a.download(size); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	down := time.Since(start)
	if err := a.upload(size); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	up := time.Since(start) - down
	rate := func(took time.Duration) float64 { return float64(size) / took.Seconds() / (1 << 20) }
	fmt.Printf("%.0f MiB/s down, %.0f MiB/s up\n", rate(down), rate(up))
	return nil
}

// events reads events; each is confirmed by a request of its own, and only then is the next one sent.
func (a *asked) events(count int64) error {
	of := fmt.Sprintf("?of=%d-", time.Now().UnixNano())
	response, err := a.do("GET", fmt.Sprintf("/events/%d%s", count, of), nil, 200, "accept", "text/event-stream")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(response.Body)
	for event := range count {
		if !lines.Scan() {
			return fmt.Errorf("event %d did not come: %w", event, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
		}
		if line := lines.Text(); line != fmt.Sprintf("data: %d", event) {
			return fmt.Errorf("%q came instead of event %d", line, event)
		}
		if !lines.Scan() || lines.Text() != "" {
			return fmt.Errorf("event %d has no end: %q", event, lines.Text())
		}
		confirmation, err := a.do("POST", fmt.Sprintf("/seen/%d%s", event, of), strings.NewReader(""), 200)
		if err != nil {
			return err
		}
		io.Copy(io.Discard, confirmation.Body)
		confirmation.Body.Close()
	}
	if lines.Scan() {
		return fmt.Errorf("%q came after the last event", lines.Text())
	}
	return nil
}
