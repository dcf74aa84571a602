// A producer and a group consumer on Debian's golang-github-ugorji-go-codec-dev and Go's own
// net/rpc.
//
//	client SERVERS produce TOPIC FIRST LAST    numbered records, spread over the partitions
//	client SERVERS consume TOPIC GROUP         a member of the group, until SIGTERM
package main

import (
	"fmt"
	"log"
	"net"
	"net/rpc"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ugorji/go/codec"
)

type fields map[string]interface{}

type place struct {
	Topic     string `codec:"topic"`
	Partition int    `codec:"partition"`
	Offset    int64  `codec:"offset"`
}

type part struct {
	Topic      string `codec:"topic"`
	Partitions []int  `codec:"partitions"`
}

type record struct {
	Offset  int64           `codec:"o"`
	Key     []byte          `codec:"k"`
	Value   []byte          `codec:"v"`
	Headers [][]interface{} `codec:"h"`
}

// What is used of the answers of all methods.
type answer struct {
	Offset     int64    `codec:"offset"`     // produce
	Records    []record `codec:"records"`    // fetch
	Offsets    []place  `codec:"offsets"`    // group.committed
	Member     string   `codec:"member"`     // group.join, group.heartbeat
	Generation int64    `codec:"generation"` // likewise
	Assigned   []part   `codec:"assigned"`   // likewise
	Topics     []struct {
		Partitions []fields `codec:"partitions"`
	} `codec:"topics"` // metadata
}

const again = "NOT_LEADER LEADER_UNKNOWN LEADER_CHANGED NOT_READY BUSY STOPPED"

var (
	servers = strings.Split(os.Args[1], ",")
	clients = map[string]*rpc.Client{} // by address
	leaders = map[string]string{}      // addresses by what they lead, a partition or a group
)

func code(err error) string {
	return strings.SplitN(fmt.Sprint(err), ":", 2)[0]
}

func ask(address, method string, params fields) (result answer, err error) {
	client := clients[address]
	if client == nil {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return result, err
		}
		handle := &codec.MsgpackHandle{WriteExt: true}
		client = rpc.NewClientWithCodec(codec.MsgpackSpecRpc.ClientCodec(connection, handle))
		clients[address] = client
	}
	patience := time.AfterFunc(10*time.Second, func() { client.Close() })
	defer patience.Stop()
	err = client.Call(method, codec.MsgpackSpecRpcMultiArgs{params}, &result)
	if _, refused := err.(rpc.ServerError); err != nil && !refused {
		client.Close()
		delete(clients, address)
	}
	return result, err
}

func call(what, method string, params fields) (answer, error) {
	for {
		address := leaders[what]
		if address == "" {
			address = servers[0]
		}
		result, err := ask(address, method, params)
		if err == nil {
			leaders[what] = address
			return result, nil
		}
		_, refused := err.(rpc.ServerError)
		if refused && !strings.Contains(again, code(err)) {
			return result, err
		}
		if code(err) == "NOT_LEADER" {
			leaders[what] = strings.Fields(err.Error())[2] // the address that it names
		} else {
			delete(leaders, what)
			servers = append(servers[1:], servers[0])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func produce(topic string, first, last int) {
	about, err := call("", "metadata", fields{"topics": []string{topic}})
	check(err)
	for n := first; n <= last; n++ {
		partition := n % len(about.Topics[0].Partitions)
		record := fields{"k": []byte(fmt.Sprint("key-", n)), "v": []byte(fmt.Sprint("value-", n)),
			"h": [][]interface{}{{"by", []byte("go")}}}
		where := fields{"topic": topic, "partition": partition, "records": []fields{record}}
		stored, err := call(fmt.Sprint(topic, "/", partition), "produce", where)
		check(err)
		fmt.Println("sent", partition, stored.Offset, n)
	}
}

// Reads on in each partition of `at` and moves its position; returns whether there was any.
func read(topic string, at map[int]int64) (any bool) {
	for n, offset := range at {
		where := fields{"topic": topic, "partition": n, "offset": offset, "max_bytes": 65536,
			"format": "records"}
		got, err := call(fmt.Sprint(topic, "/", n), "fetch", where)
		check(err)
		for _, record := range got.Records {
			fmt.Printf("read %d %d %s %s", n, record.Offset, record.Key, record.Value)
			for _, pair := range record.Headers {
				fmt.Printf(" %s=%s", pair...)
			}
			fmt.Println()
			at[n], any = record.Offset+1, true
		}
	}
	return any
}

func keys(at map[int]int64) []int {
	list := []int{}
	for n := range at {
		list = append(list, n)
	}
	sort.Ints(list)
	return list
}

func consume(topic, group string, stop chan os.Signal) {
	var me *answer // to the last join or heartbeat
	at, busy, unsaved := map[int]int64{}, false, false
	ask := func(method string, more fields) (answer, error) {
		more["group"] = group
		if me != nil {
			more["member"], more["generation"] = me.Member, me.Generation
		}
		return call(group, method, more)
	}
	turn := func() error {
		more := fields{"owned": []part{{topic, keys(at)}}, "max_wait_ms": 200}
		if busy {
			more["max_wait_ms"] = 0
		}
		method := "group.heartbeat" // gives up what was revoked: not in `at`, and committed
		if me == nil {
			method, more, at = "group.join", fields{"topics": []string{topic}}, map[int]int64{}
		}
		now, err := ask(method, more)
		if err != nil {
			return err
		}
		me = &now
		owned := map[int]int64{}
		for _, part := range me.Assigned {
			for _, n := range part.Partitions {
				owned[n] = 0
			}
		}
		if fmt.Sprint(keys(owned)) != fmt.Sprint(keys(at)) {
			fmt.Println("owns", strings.Trim(fmt.Sprint(keys(owned)), "[]"))
			known, err := ask("group.committed", fields{"topics": []string{topic}})
			if err != nil {
				return err
			}
			for _, row := range known.Offsets {
				if _, mine := owned[row.Partition]; mine {
					owned[row.Partition] = row.Offset
				}
			}
			for n := range owned {
				if offset, had := at[n]; had {
					owned[n] = offset
				}
			}
			at = owned
		}
		busy = read(topic, at)
		unsaved = unsaved || busy
		if !unsaved {
			return nil
		}
		offsets := []place{}
		for n, offset := range at {
			offsets = append(offsets, place{topic, n, offset})
		}
		_, err = ask("group.commit", fields{"offsets": offsets})
		unsaved = err != nil
		return err
	}
	for leaving := false; me != nil || !leaving; leaving = leaving || len(stop) > 0 {
		err := turn()
		if err == nil && leaving {
			_, err = ask("group.leave", fields{})
			me = nil
		}
		switch code(err) {
		case "UNKNOWN_MEMBER":
			me = nil // joins again
		case "GROUP_FENCED": // the next heartbeat tells what was lost
		default:
			check(err)
		}
	}
	fmt.Println("left")
}

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	topic, more := os.Args[3], os.Args[4:]
	if os.Args[2] == "consume" {
		consume(topic, more[0], stop)
		return
	}
	first, _ := strconv.Atoi(more[0])
	last, _ := strconv.Atoi(more[1])
	produce(topic, first, last)
}
