// A WebSocket client by github.com/coder/websocket, driven by lines.
//
// client URL [SUBPROTOCOL]. Lines of standard input are sent as text messages, but for ".ping" (a ping of the protocol)
// and ".close" (a close with 1000). What happens is printed as JSON, a line for each event.
package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/coder/websocket"
)

var output sync.Mutex

func say(event map[string]any) {
	output.Lock()
	defer output.Unlock()
	line, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func obey(ctx context.Context, connection *websocket.Conn) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch lines.Text() {
		case ".ping":
			if err := connection.Ping(ctx); err == nil {
				say(map[string]any{"event": "pong"})
			}
		case ".close":
			// Close reads up to the answer itself; the reader below then ends with what came.
			_ = connection.Close(websocket.StatusNormalClosure, "")
			return
		default:
			_ = connection.Write(ctx, websocket.MessageText, lines.Bytes())
		}
	}
}

func main() {
	ctx := context.Background()
	options := &websocket.DialOptions{Subprotocols: os.Args[2:], CompressionMode: websocket.CompressionDisabled}
	connection, response, err := websocket.Dial(ctx, os.Args[1], options)
	if err != nil {
		if response == nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		say(map[string]any{"event": "refused", "status": response.StatusCode})
		return
	}
	connection.SetReadLimit(-1)
	say(map[string]any{"event": "open", "subprotocol": connection.Subprotocol()})
	go obey(ctx, connection)
	for {
		kind, message, err := connection.Read(ctx)
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				say(map[string]any{"event": "close", "code": int(closed.Code), "reason": closed.Reason})
			} else {
				say(map[string]any{"event": "close", "code": 1006, "reason": err.Error()})
			}
			return
		}
		binary := kind == websocket.MessageBinary
		if binary {
			// Raw DEFLATE: no header, no checksum.
			if message, err = io.ReadAll(flate.NewReader(bytes.NewReader(message))); err != nil {
				panic(err)
			}
		}
		say(map[string]any{"event": "frame", "binary": binary, "text": string(message)})
	}
}
