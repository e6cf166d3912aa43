package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

// told serves on ports and prints, for each whole request, what it understood: the port, method, target, host, how many bytes
// of content, and these in hexadecimal digits.
func told(ports []string) error {
	var printing sync.Mutex
	failed := make(chan error)
	for _, port := range ports {
		handler := func(w http.ResponseWriter, r *http.Request) {
			content, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			printing.Lock()
			fmt.Fprintf(os.Stdout, "%s %s %s %s %d %s\n", port, r.Method, r.RequestURI, r.Host, len(content), hex.EncodeToString(content))
			printing.Unlock()
			fmt.Fprint(w, "told")
		}
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		server := http.Server{Handler: http.HandlerFunc(handler), DisableGeneralOptionsHandler: true}
		go func() { failed <- server.Serve(listener) }()
	}
	return <-failed
}
