// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What Go's runtime does on Linux: goroutines on threads, timers, garbage that is collected, maps, panics.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"
)

type node struct{ left, right *node }

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}

func (n *node) count() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func recovered() (err error) {
	defer func() { err = fmt.Errorf("recovered: %v", recover()) }()
	var missing *node
	return errors.New(fmt.Sprint(missing.count()))
}

func main() {
	words := map[string]int{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for _, word := range strings.Fields(lines.Text()) {
			words[word]++
		}
	}
	text, _ := json.Marshal(words)
	fmt.Println(string(text))

	results := make(chan int)
	var group sync.WaitGroup
	var mutex sync.Mutex
	total := 0
	for i := 0; i < 50; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for j := 0; j < 100; j++ {
				mutex.Lock()
				total += n
				mutex.Unlock()
				runtime.Gosched()
			}
			results <- n * n
		}(i)
	}
	go func() { group.Wait(); close(results) }()
	squares := []int{}
	for square := range results {
		squares = append(squares, square)
	}
	sort.Ints(squares)
	fmt.Println(total, len(squares), squares[49])

	fmt.Println("tree", tree(16).count())
	kept := map[int][]byte{}
	for i := 0; i < 20000; i++ {
		kept[i%100] = make([]byte, 4096)
	}
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	fmt.Println(len(kept), "collected", memory.NumGC > 1)

	begin := time.Now()
	timer, ticker := time.NewTimer(20*time.Millisecond), time.NewTicker(5*time.Millisecond)
	ticks := 0
	for waiting := true; waiting; {
		select {
		case <-ticker.C:
			ticks++
		case <-timer.C:
			waiting = false
		}
	}
	fmt.Println("ticked", ticks > 0, time.Since(begin) >= 20*time.Millisecond)
	limited, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
	defer cancel()
	<-limited.Done()
	fmt.Println(limited.Err())

	busy, done := true, make(chan bool)
	go func() { time.Sleep(5 * time.Millisecond); busy = false; done <- true }()
	sum := 0
	for i := 0; i < 30000000; i++ {
		sum += i & 3
	}
	<-done
	fmt.Println(sum, busy)

	fmt.Println(recovered())
	fmt.Printf("%x\n", sha256.Sum256([]byte("text")))
	if err := os.WriteFile("made", []byte("some text\n"), 0o600); err != nil {
		fmt.Println(err)
	}
	read, err := os.ReadFile("made")
	fmt.Printf("%q %v\n", read, err)
	_, err = os.Open("none")
	fmt.Println(err, errors.Is(err, os.ErrNotExist))
	if len(os.Args) > 1 {
		os.Exit(4)
	}
	panic("the end")
}
