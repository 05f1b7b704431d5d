// Keeps a number of commands in flight at a node of ours over HTTP with JSON, one connection for each caller, and writes
// one line of JSON.
//
//	http-load URL GROUP CALLERS WARMUP SECONDS BYTES RATE
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 8 {
		fmt.Fprintln(os.Stderr, "usage: http-load URL GROUP CALLERS WARMUP SECONDS BYTES RATE")
		os.Exit(64)
	}
	url := os.Args[1]
	load := readLoad(os.Args[3:])
	// The body is bytes, which JSON has as base64.
	command, err := json.Marshal(map[string]interface{}{
		"group": number(os.Args[2]), "body": bytes.Repeat([]byte{7}, load.bytes),
	})
	check(err)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: load.callers, DisableCompression: true}}
	load.run(func(int) error {
		answer, err := client.Post(url, "application/json", bytes.NewReader(command))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, text)
		}
		return err
	})
}
