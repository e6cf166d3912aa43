package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// Read yields the next bytes of the pattern.
func (p *pattern) Read(into []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if int64(len(into)) > p.left {
		into = into[:p.left]
	}
	read := copy(into, p.once[p.next:])
	p.next = (p.next + read) % patternPeriod
	p.left -= int64(read)
	return read, nil
}

// sum is what is told of content.
type sum struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func sumOf(content io.Reader) (sum, error) {
	hash := sha256.New()
	bytes, err := io.CopyBuffer(hash, struct{ io.Reader }{content}, make([]byte, 256<<10))
	return sum{bytes, hex.EncodeToString(hash.Sum(nil))}, err
}

// confirmed holds, for each event that somebody waits for or has confirmed, a channel that is closed once it is confirmed.
type confirmed struct {
	sync.Mutex
	events map[string]chan struct{}
}

func (c *confirmed) event(name string) chan struct{} {
	c.Lock()
	defer c.Unlock()
	if c.events[name] == nil {
		c.events[name] = make(chan struct{})
	}
	return c.events[name]
}

// moved is how many bytes of endless content the server has handed down.
var moved atomic.Int64

// smallWindows keeps what Go itself buffers for a stream small.
var smallWindows = http.HTTP2Config{MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 64 << 10}

func serve(port string) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: ":" + port, Handler: handler(), Protocols: &protocols, HTTP2: &smallWindows}
	return server.ListenAndServe()
}

func handler() http.Handler {
	seen := confirmed{events: map[string]chan struct{}{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bytes/{count}", serveBytes)
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("content-length", strconv.Itoa(len(content)))
		w.Write(content)
	})
	mux.HandleFunc("POST /sum", func(w http.ResponseWriter, r *http.Request) {
		told, err := sumOf(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("x-trailer-seen", r.Trailer.Get("x-sha256"))
		json.NewEncoder(w).Encode(told)
	})
	mux.HandleFunc("/admin/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "REACHED") })
	mux.HandleFunc("/status/{status}", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(int(number(w, r, "status")))
	})
	mux.HandleFunc("GET /events/{count}", seen.serve)
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, _ *http.Request) {
		part := make([]byte, 16<<10)
		for {
			written, err := w.Write(part)
			moved.Add(int64(written))
			if err != nil {
				return
			}
		}
	})
	mux.HandleFunc("POST /unread", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("GET /moved", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, moved.Load()) })
	mux.HandleFunc("POST /seen/{event}", func(_ http.ResponseWriter, r *http.Request) {
		close(seen.event(r.URL.Query().Get("of") + r.PathValue("event")))
	})
	return mux
}

func serveBytes(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("trailer", "x-sha256")
	// Of content without a byte, HTTP/2 would announce a length, and HTTP/1 has trailers only behind content without one.
	http.NewResponseController(w).Flush()
	hash := sha256.New()
	into := io.MultiWriter(w, hash)
	if _, err := io.CopyBuffer(into, newPattern(number(w, r, "count")), make([]byte, 256<<10)); err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("x-sha256", hex.EncodeToString(hash.Sum(nil)))
}

// serve sends events, each once the one before has been confirmed.
func (c *confirmed) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/event-stream")
	flusher := http.NewResponseController(w)
	for event := range number(w, r, "count") {
		fmt.Fprintf(w, "data: %d\n\n", event)
		flusher.Flush()
		select {
		case <-c.event(r.URL.Query().Get("of") + strconv.FormatInt(event, 10)):
		case <-r.Context().Done():
			return
		}
	}
}

func number(w http.ResponseWriter, r *http.Request, name string) int64 {
	number, err := strconv.ParseInt(r.PathValue(name), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		panic(http.ErrAbortHandler)
	}
	return number
}
