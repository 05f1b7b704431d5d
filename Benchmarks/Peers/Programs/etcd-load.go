// Keeps a number of puts (or linearizable gets) in flight at an etcd cluster for a while, and writes one line of JSON.
// The requests go to the member that leads: any other would pass them on to it.
//
//	etcd-load ENDPOINT,ENDPOINT,... CALLERS WARMUP SECONDS BYTES RATE put|get
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/clientv3"
)

// The endpoint of the member that leads, once there is one.
func leader(endpoints []string) string {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second})
	check(err)
	defer client.Close()
	for attempt := 0; attempt < 300; attempt++ {
		for _, endpoint := range endpoints {
			limit, cancel := context.WithTimeout(context.Background(), time.Second)
			status, err := client.Status(limit, endpoint)
			cancel()
			if err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId {
				return endpoint
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(fmt.Errorf("none of %v leads after 30 seconds", endpoints))
	return ""
}

func main() {
	if len(os.Args) != 8 {
		fmt.Fprintln(os.Stderr, "usage: etcd-load ENDPOINT,ENDPOINT,... CALLERS WARMUP SECONDS BYTES RATE put|get")
		os.Exit(64)
	}
	load := readLoad(os.Args[2:])
	value := strings.Repeat("x", load.bytes)
	reads := os.Args[7] == "get"
	endpoint := leader(strings.Split(os.Args[1], ","))

	// A connection carries some dozens of callers: one alone is the bottleneck of a thousand.
	clients := make([]*clientv3.Client, 1+load.callers/64)
	var err error
	for i := range clients {
		clients[i], err = clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
		check(err)
	}
	_, err = clients[0].Put(context.Background(), "key-0", value)
	check(err)
	load.run(func(caller int) error {
		client := clients[caller%len(clients)]
		if reads {
			_, err := client.Get(context.Background(), "key-0")
			return err
		}
		_, err := client.Put(context.Background(), fmt.Sprintf("key-%d", caller), value)
		return err
	})
}
