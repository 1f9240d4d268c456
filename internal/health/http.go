package health

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// answerWithin bounds a request, its answer included.
const answerWithin = 5 * time.Second

// Serve answers on address until stop is called:
//
//	GET /live     200, or 503 with the loops that are stuck, a line each
//	GET /ready    200, or 503 with what is wrong; then how all else stands
//	GET /metrics  what that handler answers
func Serve(address string, b *Board, metrics http.Handler) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: handler(b, metrics), ReadTimeout: answerWithin, WriteTimeout: answerWithin, IdleTimeout: time.Minute, MaxHeaderBytes: 4 << 10,
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // ends with stop
	return func() {
		_ = server.Close()
		serving.Wait()
	}, nil
}

func handler(b *Board, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) {
		v := b.Verdict()
		answer(w, v.Live(), "live", v.Stuck)
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		v := b.Verdict()
		answer(w, v.Ready(), "ready", slices.Concat(v.Stuck, v.Lacking, v.Having))
	})
	return mux
}

func answer(w http.ResponseWriter, good bool, what string, lines []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
		what = "not " + what
	}
	fmt.Fprintln(w, what)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
}
