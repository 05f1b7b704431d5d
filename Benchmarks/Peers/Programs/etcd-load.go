// Keeps a number of puts (or linearizable gets) in flight at an etcd cluster for a while, and writes one line of JSON.
//
//	etcd-load ENDPOINT CALLERS WARMUP SECONDS BYTES put|get
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd-load:", err)
		os.Exit(1)
	}
}

func seconds(word string) time.Duration {
	value, err := strconv.ParseFloat(word, 64)
	check(err)
	return time.Duration(value * float64(time.Second))
}

func main() {
	if len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: etcd-load ENDPOINT CALLERS WARMUP SECONDS BYTES put|get")
		os.Exit(64)
	}
	callers, err := strconv.Atoi(os.Args[2])
	check(err)
	size, err := strconv.Atoi(os.Args[5])
	check(err)
	value := strings.Repeat("x", size)
	reads := os.Args[6] == "get"

	// A connection carries some dozens of callers: one alone is the bottleneck of a thousand.
	clients := make([]*clientv3.Client, 1+callers/64)
	for i := range clients {
		clients[i], err = clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, DialTimeout: 5 * time.Second})
		check(err)
	}
	_, err = clients[0].Put(context.Background(), "key-0", value)
	check(err)

	begin := time.Now().Add(seconds(os.Args[3]))
	length := seconds(os.Args[4])
	end := begin.Add(length)
	time.AfterFunc(time.Until(begin), func() { fmt.Println("measuring") })
	latencies := make([][]float64, callers)
	var group sync.WaitGroup
	for caller := 0; caller < callers; caller++ {
		group.Add(1)
		go func(caller int) {
			defer group.Done()
			client := clients[caller%len(clients)]
			key := fmt.Sprintf("key-%d", caller)
			for {
				start := time.Now()
				if !start.Before(end) {
					return
				}
				var err error
				if reads {
					_, err = client.Get(context.Background(), "key-0")
				} else {
					_, err = client.Put(context.Background(), key, value)
				}
				check(err)
				done := time.Now()
				if !done.Before(begin) && done.Before(end) {
					latencies[caller] = append(latencies[caller], float64(done.Sub(start).Nanoseconds())/1000)
				}
			}
		}(caller)
	}
	group.Wait()

	var all []float64
	for _, part := range latencies {
		all = append(all, part...)
	}
	sort.Float64s(all)
	percentile := func(share float64) float64 {
		if len(all) == 0 {
			return 0
		}
		rank := int(share*float64(len(all)) + 0.999999)
		if rank < 1 {
			rank = 1
		}
		return all[rank-1]
	}
	fmt.Printf("{\"operations\":%d,\"seconds\":%.6f,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"most\":%.1f}\n",
		len(all), length.Seconds(), percentile(0.5), percentile(0.99), percentile(0.999), percentile(1))
}
