// Debian's golang-github-ugorji-go-codec-dev with Go's own net/rpc, as they are: the strictest
// client, which takes nothing but nil and text as an error.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"strings"
	"time"

	"github.com/ugorji/go/codec"
)

type fields map[string]interface{}

type record struct {
	O int64           `codec:"o" json:"o"`
	T int64           `codec:"t" json:"t"`
	K []byte          `codec:"k" json:"-"`
	V []byte          `codec:"v" json:"-"`
	H [][]interface{} `codec:"h" json:"-"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(client *rpc.Client, method string, params fields, result interface{}) error {
	for {
		err := client.Call(method, codec.MsgpackSpecRpcMultiArgs{params}, result)
		if err == nil || !(strings.HasPrefix(err.Error(), "NOT_READY:") ||
			strings.HasPrefix(err.Error(), "LEADER_UNKNOWN:")) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func optionalHex(bytes []byte) interface{} {
	if bytes == nil {
		return nil
	}
	return hex.EncodeToString(bytes)
}

func plain(records []record) []fields {
	list := []fields{}
	for _, r := range records {
		headers := [][]interface{}{}
		for _, pair := range r.H {
			headers = append(headers, []interface{}{pair[0], optionalHex(pair[1].([]byte))})
		}
		list = append(list, fields{
			"o": r.O, "t": r.T, "k": optionalHex(r.K), "v": optionalHex(r.V), "h": headers,
		})
	}
	return list
}

func main() {
	const topic = "ugorji"
	handle := &codec.MsgpackHandle{WriteExt: true}
	connection, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
	check(err)
	client := rpc.NewClientWithCodec(codec.MsgpackSpecRpc.ClientCodec(connection, handle))

	var created struct {
		Partitions int `codec:"partitions"`
	}
	check(call(client, "topic.create", fields{"name": topic, "partitions": 2}, &created))
	records := []fields{
		{"k": []byte{0, 255, 128}, "v": "as text", "t": 1700000000000},
		{"k": nil, "v": []byte("hello"), "t": 1700000000001,
			"h": []interface{}{[]interface{}{"source", []byte(topic)}}},
	}
	var produced struct {
		Offset int64 `codec:"offset"`
		Count  int   `codec:"count"`
	}
	where := fields{"topic": topic, "partition": 0, "records": records}
	check(call(client, "produce", where, &produced))
	var fetched struct {
		Records []record `codec:"records"`
	}
	where = fields{"topic": topic, "partition": 0, "offset": 0, "format": "records"}
	check(call(client, "fetch", where, &fetched))
	where = fields{"topic": "no-such-topic", "partition": 0, "offset": 0}
	refusal := call(client, "fetch", where, &fetched)
	text := ""
	if refusal != nil {
		text = refusal.Error()
	}
	check(json.NewEncoder(os.Stdout).Encode(fields{
		"created": created.Partitions, "offset": produced.Offset, "count": produced.Count,
		"records": plain(fetched.Records), "error": text,
	}))
}
