// The upper-case server with Go's net: a goroutine per connection, which reads and writes as if it blocked.
//
//	peer-go ADDR BYTES
//
// Each goroutine has a buffer of its own, since its read waits with it. Run with GOMAXPROCS=1: one core is what all have.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

func attend(client net.Conn, bytes int) {
	defer client.Close()
	buffer := make([]byte, bytes)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		for i, c := range buffer[:n] {
			if c-'a' < 26 {
				buffer[i] = c - 32
			}
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func main() {
	bytes, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp4", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on tcp %s\n", listener.Addr())
	for {
		client, err := listener.Accept()
		if err != nil {
			continue
		}
		go attend(client, bytes)
	}
}
