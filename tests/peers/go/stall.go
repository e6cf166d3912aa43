package main

import (
	"fmt"
	"io"
	"time"
)

// endless yields zeros and counts them.
type endless struct{}

func (endless) Read(into []byte) (int, error) {
	into = into[:min(len(into), 16<<10)]
	clear(into)
	moved.Add(int64(len(into)))
	return len(into), nil
}

// stall begins an exchange whose content has no end, and of which one side reads nothing. Beside it, other requests are
// answered: over HTTP/2 on the same connection. Then it prints, until it is ended, how many bytes the sender has handed down.
func (a *asked) stall(upload bool) error {
	failed := make(chan error, 1)
	if upload {
		go func() {
			_, err := a.do("POST", "/unread", struct{ io.Reader }{endless{}}, 200)
			failed <- fmt.Errorf("the upload ended: %w", err)
		}()
	} else if _, err := a.do("GET", "/endless", nil, 200); err != nil {
		return err
	}
	for range 50 {
		if err := a.download(10_000); err != nil {
			return fmt.Errorf("beside it: %w", err)
		}
		if err := a.upload(10_000); err != nil {
			return fmt.Errorf("beside it: %w", err)
		}
	}
	fmt.Println("others go on over", a.connections, "connections")
	for {
		select {
		case err := <-failed:
			return err
		case <-time.After(50 * time.Millisecond):
			fmt.Println(moved.Load())
		}
	}
}
