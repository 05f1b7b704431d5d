// Makes streams of three replicas on files in a NATS JetStream cluster. Then it keeps a number of publications in flight,
// each of which waits for its acknowledgement, spread over the first of the streams, or leaves them all idle; and writes
// one line of JSON.
//
//	nats-load URL CALLERS WARMUP SECONDS BYTES RATE STREAMS ACTIVE publish|idle
package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Streams are made so many at a time.
const makers = 16

// How long one call may take: making a thousand streams takes a while.
const callPatience = 30 * time.Second

func connect(url string) (*nats.Conn, nats.JetStreamContext) {
	connection, err := nats.Connect(url, nats.Timeout(5*time.Second))
	check(err)
	stream, err := connection.JetStream(nats.MaxWait(callPatience))
	check(err)
	return connection, stream
}

// A cluster takes streams once its servers have found each other.
func makeStreams(context nats.JetStreamContext, count int) {
	deadline := time.Now().Add(10 * callPatience)
	numbers := make(chan int)
	var group sync.WaitGroup
	for maker := 0; maker < makers; maker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				config := nats.StreamConfig{
					Name: fmt.Sprintf("s%d", number), Subjects: []string{subject(number)}, Replicas: 3,
					Storage: nats.FileStorage,
				}
				for {
					_, err := context.AddStream(&config)
					if err == nil {
						break
					}
					if time.Now().After(deadline) {
						check(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		}()
	}
	for number := 0; number < count; number++ {
		numbers <- number
	}
	close(numbers)
	group.Wait()
}

func subject(number int) string { return fmt.Sprintf("subject.%d", number) }

func main() {
	if len(os.Args) != 10 {
		fmt.Fprintln(os.Stderr, "usage: nats-load URL CALLERS WARMUP SECONDS BYTES RATE STREAMS ACTIVE publish|idle")
		os.Exit(64)
	}
	load := readLoad(os.Args[2:])
	streams, active := number(os.Args[7]), number(os.Args[8])
	contexts := make([]nats.JetStreamContext, 1+load.callers/64)
	for i := range contexts {
		_, contexts[i] = connect(os.Args[1])
	}
	if os.Args[9] == "idle" {
		// The servers have found each other, and one stream has been there and is gone.
		makeStreams(contexts[0], 1)
		check(contexts[0].DeleteStream("s0"))
		time.Sleep(2 * time.Second)
		fmt.Println("empty")
		time.Sleep(time.Second)
	}
	makeStreams(contexts[0], streams)
	if os.Args[9] == "idle" {
		time.Sleep(load.warmup)
		fmt.Println("measuring")
		time.Sleep(load.length)
		report(nil, load.length)
		return
	}
	message := make([]byte, load.bytes)
	load.run(func(caller int) error {
		_, err := contexts[caller%len(contexts)].Publish(subject(caller%active), message)
		return err
	})
}
