// Judges our readers of environment and Compose files by Compose's own, compose-go: both read the same
// generated files, and nothing may be taken differently.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"github.com/sirupsen/logrus"
)

// What the files are made from, the same ones every time. Others: SEED=7 make peers; FILES=5000 for more
// Compose files.
var seed = uint64(20261125)

func main() {
	logrus.SetOutput(io.Discard)
	if wanted := os.Getenv("SEED"); wanted != "" {
		number, err := strconv.ParseUint(wanted, 10, 64)
		if err != nil {
			fail(err)
		}
		seed = number
	}
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: compose env|files OUR-READER"))
	}
	ours, err := startReader(os.Args[2])
	if err != nil {
		fail(err)
	}
	var different []string
	switch os.Args[1] {
	case "env":
		different, err = compareEnv(ours)
	case "files":
		different, err = compareFiles(ours)
	default:
		err = fmt.Errorf("%q is nothing to compare", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
	for i, text := range different {
		if i == 20 {
			fmt.Printf("... and %d more\n", len(different)-i)
			break
		}
		fmt.Println(text)
	}
	if len(different) > 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}

// A question to our reader: one file.
type question struct {
	Env *string `json:"env,omitempty"`
}

// What our reader answers: what it took, or its problems.
type answer struct {
	Values   map[string]string `json:"values"`
	Model    json.RawMessage   `json:"model"`
	Problems []string          `json:"problems"`
}

// reader is our program: a question a line in, an answer a line out.
type reader struct {
	in  *json.Encoder
	out *json.Decoder
}

func startReader(program string) (*reader, error) {
	command := exec.Command(program)
	command.Stderr = os.Stderr
	command.Env = []string{}
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &reader{json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))}, command.Start()
}

func (r *reader) ask(q any) (answer, error) {
	if err := r.in.Encode(q); err != nil {
		return answer{}, err
	}
	var a answer
	err := r.out.Decode(&a)
	return a, err
}
