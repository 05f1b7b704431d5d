// What the load programs in Go have in common: callers for a while, and one line of JSON.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0]+":", err)
		os.Exit(1)
	}
}

func seconds(word string) time.Duration {
	value, err := strconv.ParseFloat(word, 64)
	check(err)
	return time.Duration(value * float64(time.Second))
}

func number(word string) int {
	value, err := strconv.Atoi(word)
	check(err)
	return value
}

// What a load program is asked for: CALLERS WARMUP SECONDS BYTES RATE.
type load struct {
	callers        int
	warmup, length time.Duration
	bytes          int
	// Requests a second, each at its time whatever the others take; 0 is a closed loop.
	rate int
}

func readLoad(words []string) load {
	return load{number(words[0]), seconds(words[1]), seconds(words[2]), number(words[3]), number(words[4])}
}

// How far an open loop may be behind at its end.
const patience = 10 * time.Second

// Keeps the callers busy, and writes what came of it.
func (load load) run(call func(caller int) error) {
	first := time.Now()
	begin := first.Add(load.warmup)
	end := begin.Add(load.length)
	time.AfterFunc(time.Until(begin), func() { fmt.Println("measuring") })
	var places int64 = -1
	next := func() time.Time {
		if load.rate == 0 {
			return time.Now()
		}
		place := atomic.AddInt64(&places, 1)
		due := first.Add(time.Duration(float64(place) * 1e9 / float64(load.rate)))
		time.Sleep(time.Until(due))
		return due
	}
	latencies := make([][]float64, load.callers)
	var group sync.WaitGroup
	for caller := 0; caller < load.callers; caller++ {
		group.Add(1)
		go func(caller int) {
			defer group.Done()
			for {
				start := next()
				if !start.Before(end) {
					return
				}
				check(call(caller))
				done := time.Now()
				if done.After(end.Add(patience)) {
					check(fmt.Errorf("%d requests a second are more than it can do", load.rate))
				}
				// What was due in time counts, however late it was done.
				isCounted := !start.Before(begin)
				if load.rate == 0 {
					isCounted = !done.Before(begin) && done.Before(end)
				}
				if isCounted {
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
	report(all, load.length)
}

// Latencies in microseconds.
func report(all []float64, length time.Duration) {
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
