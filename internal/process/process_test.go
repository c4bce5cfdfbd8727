// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs are what the test binary does instead of testing when PROGRAM names one.
var programs = map[string]func(lines *bufio.Scanner){
	// slow says that it is ready before it handles interrupts, as a collector does. Each line that it reads lets it go on.
	"slow": func(lines *bufio.Scanner) {
		fmt.Println("ready")
		lines.Scan()
		fmt.Println("still starting")
		lines.Scan()
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt)
		<-interrupts
	},
	"failing": func(*bufio.Scanner) { os.Exit(3) },
	"deaf": func(*bufio.Scanner) {
		signal.Ignore(os.Interrupt)
		fmt.Println("ready")
		select {}
	},
}

func TestMain(m *testing.M) {
	if program := programs[os.Getenv("PROGRAM")]; program != nil {
		program(bufio.NewScanner(os.Stdin))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run starts one of the programs and returns its output, line by line, and its input.
func run(t *testing.T, program string) (p *Process, output *bufio.Scanner, input io.Writer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROGRAM="+program)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, out.Close()) })
	cmd.Stdout = w
	p, err = Start(cmd)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	t.Cleanup(p.Kill)
	return p, bufio.NewScanner(out), input
}

func requireLine(t *testing.T, output *bufio.Scanner, expected string) {
	t.Helper()
	require.True(t, output.Scan(), "the program has ended")
	require.Equal(t, expected, output.Text())
}

// A program that is asked to stop before it handles signals goes on with its start, and then stops with status 0.
func TestInterruptsDoNotKillAProgramThatStarts(t *testing.T) {
	p, output, input := run(t, "slow")
	requireLine(t, output, "ready")
	p.interrupt()
	fmt.Fprintln(input)
	requireLine(t, output, "still starting")
	assert.Nil(t, p.State())
	fmt.Fprintln(input)
	require.NoError(t, p.Stop(time.Minute))
	assert.Zero(t, p.State().ExitCode())
	assert.NoError(t, p.Stop(time.Minute), "again")
}

func TestStopReturnsTheStatus(t *testing.T) {
	p, _, _ := run(t, "failing")
	<-p.Ended()
	assert.EqualError(t, p.Stop(time.Minute), "exit status 3")
	assert.Equal(t, 3, p.State().ExitCode())
}

func TestStopKillsWhatDoesNotStop(t *testing.T) {
	p, output, _ := run(t, "deaf")
	requireLine(t, output, "ready")
	assert.EqualError(t, p.Stop(0), "signal: killed")
}

func TestStartFailsWithoutTheProgram(t *testing.T) {
	_, err := Start(exec.Command("no-such-program"))
	assert.ErrorIs(t, err, exec.ErrNotFound)
}
