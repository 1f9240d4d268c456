package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// handshakeBound is how long the database may take for its schema and its
	// first contents.
	handshakeBound = 10 * time.Second
	// echoInterval is how often the database is asked whether it lives;
	// silenceBound is how long it may say nothing.
	echoInterval = 5 * time.Second
	silenceBound = 12 * time.Second
	writeBound   = 5 * time.Second
)

// session is one JSON-RPC session with the database's server (RFC 7047, section
// 4), thrown away when any of it fails.
type session struct {
	conn net.Conn
	in   *json.Decoder

	mu   sync.Mutex // of writing
	out  *json.Encoder
	last int // the last request's id
}

// message is what a server sends: an answer, a notification or an echo request.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// What a session's news are; lost comes last.
type (
	opened struct {
		session  *session
		contents *contents
	}
	changed  struct{ updates updates }
	answered struct {
		id     int
		result json.RawMessage
		err    error
	}
	lost struct{ err error }
)

func newSession(conn net.Conn) *session {
	return &session{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
}

// serve opens the session and gives its news until it fails or ctx ends.
func (s *session) serve(ctx context.Context, news func(any)) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer stop()
	defer s.conn.Close()
	c, err := s.open()
	if err != nil {
		return err
	}
	news(opened{s, c})
	var echo sync.WaitGroup
	over := make(chan struct{})
	defer echo.Wait()
	defer close(over)
	echo.Go(func() { s.askForLife(over) })
	for {
		m, err := s.receive(silenceBound)
		if err != nil {
			return err
		}
		switch m.Method {
		case "":
			var id int
			if json.Unmarshal(m.ID, &id) != nil {
				continue // of an echo
			}
			news(answered{id, m.Result, m.fault()})
		case "update":
			u, err := readUpdate(m.Params)
			if err != nil {
				return err
			}
			news(changed{u})
		}
	}
}

// open asks for the schema and then for everything that matters, now and from
// now on.
func (s *session) open() (*contents, error) {
	raw, err := s.call("get_schema", database)
	if err != nil {
		return nil, err
	}
	schema, err := readSchema(raw)
	if err != nil {
		return nil, err
	}
	if raw, err = s.call("monitor", database, nil, schema.monitored()); err != nil {
		return nil, err
	}
	u, err := readTables(raw)
	if err != nil {
		return nil, err
	}
	c := newContents(schema)
	c.apply(u)
	return c, nil
}

// call sends a request and waits for its answer, which nothing but an echo may
// precede.
func (s *session) call(method string, params ...any) (json.RawMessage, error) {
	if _, err := s.send(method, params...); err != nil {
		return nil, err
	}
	for {
		m, err := s.receive(handshakeBound)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if m.Method != "" {
			continue
		}
		if err := m.fault(); err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		return m.Result, nil
	}
}

// transact sends a transaction and gives the id of its answer.
func (s *session) transact(operations []operation) (id int, err error) {
	params := []any{database}
	for _, o := range operations {
		params = append(params, o)
	}
	return s.send("transact", params...)
}

// send sends a request without waiting for its answer.
func (s *session) send(method string, params ...any) (id int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return s.last, s.write(map[string]any{"method": method, "params": params, "id": s.last})
}

func (s *session) write(message any) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeBound)); err != nil {
		return err
	}
	return s.out.Encode(message)
}

// receive waits for the next message and answers echo requests, which the server
// sends to see whether its client lives.
func (s *session) receive(bound time.Duration) (m message, err error) {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(bound)); err != nil {
			return m, err
		}
		m = message{}
		if err := s.in.Decode(&m); err != nil {
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() {
				return m, fmt.Errorf("the Open vSwitch database has said nothing for %s", bound)
			}
			return m, err
		}
		if m.Method != "echo" {
			return m, nil
		}
		s.mu.Lock()
		err = s.write(map[string]any{"id": m.ID, "result": m.Params, "error": nil})
		s.mu.Unlock()
		if err != nil {
			return m, err
		}
	}
}

// askForLife sends echo requests until over; their answers are enough to keep
// receive from giving up.
func (s *session) askForLife(over <-chan struct{}) {
	every := time.NewTicker(echoInterval)
	defer every.Stop()
	for {
		select {
		case <-over:
			return
		case <-every.C:
			s.mu.Lock()
			err := s.write(map[string]any{"method": "echo", "params": []any{}, "id": "echo"})
			s.mu.Unlock()
			if err != nil {
				_ = s.conn.Close() // ends receive
				return
			}
		}
	}
}

func (m message) fault() error {
	if len(m.Error) == 0 || string(m.Error) == "null" {
		return nil
	}
	return fmt.Errorf("the Open vSwitch database answers %s", m.Error)
}

// readUpdate reads an update notification: [monitor, tables].
func readUpdate(params json.RawMessage) (updates, error) {
	var pair []json.RawMessage
	if err := json.Unmarshal(params, &pair); err != nil || len(pair) != 2 {
		return nil, errors.New("an update is not [monitor, tables]")
	}
	return readTables(pair[1])
}

// readTables reads <table-updates> (RFC 7047, section 4.1.6): "new" is the whole
// row as monitored, and is missing where the row has gone.
func readTables(raw json.RawMessage) (updates, error) {
	var tables map[string]map[string]struct {
		New row `json:"new"`
	}
	if err := json.Unmarshal(raw, &tables); err != nil {
		return nil, fmt.Errorf("contents: %w", err)
	}
	u := updates{}
	for table, rows := range tables {
		u[table] = map[string]row{}
		for id, r := range rows {
			u[table][id] = r.New
		}
	}
	return u, nil
}
