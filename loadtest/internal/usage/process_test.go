// SPDX-License-Identifier: Apache-2.0

//go:build linux

package usage

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	cpu, err := parseStat("1234 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0")
	require.NoError(t, err)
	assert.Equal(t, 3*time.Second, cpu)
	_, err = parseStat("1234 (a)")
	require.Error(t, err)
}

func TestNumber(t *testing.T) {
	n, err := Number("VmPeak:\t 1 kB\nVmRSS:\t  4096 kB\n", "VmRSS:", "kB")
	require.NoError(t, err)
	assert.Equal(t, int64(4096), n)
	_, err = Number("", "VmRSS:", "kB")
	require.Error(t, err)
}

func TestThisProcess(t *testing.T) {
	now, peak, err := Resident(os.Getpid())
	require.NoError(t, err)
	assert.Positive(t, now)
	assert.GreaterOrEqual(t, peak, now)
	_, err = Process(os.Getpid())
	require.NoError(t, err)
}

func TestCPUsAreThoseOfTheProcess(t *testing.T) {
	all, err := CPUs()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	defer func() { require.NoError(t, Pin(all)) }()
	require.NoError(t, Pin(all[:1]))
	one, err := CPUs()
	require.NoError(t, err)
	assert.Equal(t, all[:1], one)
	// What is started for others does not change this process.
	require.NoError(t, With(all, func() error {
		now, err := CPUs()
		assert.Equal(t, all, now)
		return err
	}))
}
