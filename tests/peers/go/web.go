// Command web is Go's net/http as server and as client, HTTP/1.1 and HTTP/2 with prior knowledge: what pods run when a test
// must see that a widespread implementation gets exactly what another one sent.
//
//	web serve PORT
//	web told PORT...
//	web ask|bulk|events|stall [-http2] [-host NAME] [-bytes N] [-count N] ADDRESS
//
// The server answers
//
//	GET  /bytes/N    N bytes of the pattern, in chunks or frames, and their SHA-256 as a trailer
//	POST /echo       what was sent, with its length
//	POST /sum        how many bytes were sent and their SHA-256, as JSON
//	ANY  /admin/...  that it was reached
//	ANY  /status/N   with this status
//	GET  /events/N   N server-sent events; each but the first is sent once the client has confirmed the one before
//	POST /seen/N     confirms an event
//	GET  /endless    bytes without end
//	POST /unread     nothing, and reads nothing
//	GET  /moved      how many bytes of endless content were handed down
//
// With told, it answers everything on these ports alike, and prints what it understood of each request.
//
// A client exits with 0 when every answer was right, and says what was not.
package main

import (
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("web serve PORT, web told PORT..., or web ask|bulk|events|stall [flags] ADDRESS")
	}
	var err error
	switch what := os.Args[1]; what {
	case "serve":
		err = serve(os.Args[2])
	case "told":
		err = told(os.Args[2:])
	case "ask", "bulk", "events", "stall":
		err = ask(what, os.Args[2:])
	default:
		err = fmt.Errorf("%q is none of serve, told, ask, bulk, events, stall", what)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// patternPeriod is how many bytes of the pattern pass before it begins again: no power of two, so that a lost, doubled or
// moved block shows wherever blocks are of such a size.
const patternPeriod = 65521

// pattern is what bodies are made of: byte i is the sum of i's low bytes.
type pattern struct {
	once []byte
	next int
	left int64
}

func newPattern(bytes int64) *pattern {
	once := make([]byte, patternPeriod)
	for i := range once {
		once[i] = byte(i + i>>8)
	}
	return &pattern{once: once, left: bytes}
}
