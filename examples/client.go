// The text protocol needs no library. Typed anywhere: go run client.go
package main

import (
	"bufio"
	"fmt"
	"net"
	"time"
)

func main() {
	gateway, err := net.Dial("tcp", "127.0.0.1:10000")
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(gateway, "IAMAT kea -44.67+167.93 %.9f\n", float64(time.Now().UnixNano())/1e9)
	answer, err := bufio.NewReader(gateway).ReadString('\n')
	if err != nil {
		panic(err)
	}
	fmt.Print(answer)
}
