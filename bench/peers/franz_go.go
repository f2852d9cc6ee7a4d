// engine: franz-go
// what: a franz-go consumer that discards
// needs: github.com/twmb/franz-go@v1.22.0
// settings: defaults tuned
// does: ingest
// stores: no

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

type table struct {
	Topic      string `json:"topic"`
	Partitions int32  `json:"partitions"`
}

type request struct {
	Do        string  `json:"do"`
	Bootstrap string  `json:"bootstrap"`
	Tables    []table `json:"tables"`
}

var rows, offsets, bytes atomic.Uint64

func begin(job request, tuned bool) error {
	partitions := map[string]map[int32]kgo.Offset{}
	for _, one := range job.Tables {
		partitions[one.Topic] = map[int32]kgo.Offset{}
		for at := int32(0); at < one.Partitions; at++ {
			partitions[one.Topic][at] = kgo.NewOffset().AtStart()
		}
	}
	options := []kgo.Opt{kgo.SeedBrokers(job.Bootstrap), kgo.ConsumePartitions(partitions)}
	if tuned {
		options = append(options, kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(8<<20))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	go func() {
		for {
			fetches := client.PollFetches(context.Background())
			fetches.EachError(func(topic string, partition int32, err error) {
				fmt.Fprintf(os.Stderr, "%s, partition %d: %v\n", topic, partition, err)
			})
			var count, sum, length uint64
			fetches.EachRecord(func(record *kgo.Record) {
				count++
				sum += uint64(record.Offset)
				length += uint64(len(record.Value))
			})
			offsets.Add(sum)
			bytes.Add(length)
			// Last: whoever sees these rows sees the rest.
			rows.Add(count)
		}
	}()
	return nil
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "franz-go"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return "franz-go " + module.Version + ", " + info.GoVersion
		}
	}
	return "franz-go, " + info.GoVersion
}

func main() {
	tuned := len(os.Args) > 1 && os.Args[1] == "tuned"
	settings := []string{"all at their defaults"}
	if tuned {
		settings = []string{"FetchMaxBytes 16 MiB", "FetchMaxPartitionBytes 8 MiB"}
	}
	var job request
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 16<<20)
	for input.Scan() {
		var asked request
		answer := map[string]any{}
		if err := json.Unmarshal(input.Bytes(), &asked); err != nil {
			answer["error"] = err.Error()
		}
		switch asked.Do {
		case "start":
			job = asked
			answer["version"] = version()
			answer["settings"] = settings
		case "begin":
			if err := begin(job, tuned); err != nil {
				answer["error"] = err.Error()
			}
		case "rows":
			answer["rows"] = rows.Load()
		case "tally":
			answer["rows"] = rows.Load()
			answer["offsets"] = offsets.Load()
			answer["bytes"] = bytes.Load()
		case "stop":
		default:
			answer["error"] = "nobody knows " + asked.Do
		}
		line, err := json.Marshal(answer)
		if err != nil {
			line = []byte(`{"error": "an answer that is no JSON"}`)
		}
		fmt.Println(string(line))
		if asked.Do == "stop" {
			return
		}
	}
}
