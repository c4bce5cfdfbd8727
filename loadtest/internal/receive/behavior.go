// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// Behavior is how a receiver answers. The probabilities are those of a request, from 0 to 1.
type Behavior struct {
	Seed uint64 `json:"seed"`
	// Latency is how long each answer takes; Jitter is what a random part is added of.
	Latency Duration `json:"latency"`
	Jitter  Duration `json:"jitter"`
	// ServerErrors are 500, 502, 503 and 504; StoredServerErrors are the same though the samples are stored.
	ServerErrors       float64 `json:"server_errors"`
	StoredServerErrors float64 `json:"stored_server_errors"`
	TooManyRequests    float64 `json:"too_many_requests"`
	ClientErrors       float64 `json:"client_errors"` // 400, 409 and 422
	// PartialWrites are 400s to requests of 2.0 of which half is stored, with headers that say how much.
	PartialWrites float64 `json:"partial_writes"`
	// Resets are connections that are reset before the request is read, LostAnswers those that are reset after the samples
	// are stored. To a hang there is no answer until the client gives up.
	Resets      float64 `json:"resets"`
	LostAnswers float64 `json:"lost_answers"`
	Hangs       float64 `json:"hangs"`
	// MaxRetryAfter bounds what the Retry-After of a 503 or 429 asks for, in whole seconds; if it is 0 they have none.
	MaxRetryAfter Duration `json:"max_retry_after"`
	// Status answers all requests, unless it is 0.
	Status int `json:"status"`
	// Poison is the part of all series that each request which has one of them is answered PoisonStatus for.
	Poison       float64 `json:"poison"`
	PoisonStatus int     `json:"poison_status"`
}

// Duration is one that is written as a string.
type Duration time.Duration

// UnmarshalJSON reads a string like "50ms".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// MarshalJSON writes such a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// Register adds a flag for each setting.
func (b *Behavior) Register(flags *flag.FlagSet) {
	flags.Uint64Var(&b.Seed, "seed", 1, "decides which requests are answered by what")
	flags.DurationVar((*time.Duration)(&b.Latency), "latency", 0, "how long each answer takes")
	flags.DurationVar((*time.Duration)(&b.Jitter), "jitter", 0, "how much longer it takes at most, by chance")
	flags.DurationVar((*time.Duration)(&b.MaxRetryAfter), "max-retry-after", 0, "most that Retry-After of a 503 or 429 asks for, in whole seconds; 0 is no such header")
	flags.IntVar(&b.Status, "status", 0, "the answer to all requests, if it is not 0")
	flags.IntVar(&b.PoisonStatus, "poison-status", http.StatusBadRequest, "the answer to a request that has a poison series")
	for _, f := range []struct {
		p          *float64
		name, what string
	}{
		{&b.ServerErrors, "server-errors", "probability of a 500, 502, 503 or 504"},
		{&b.StoredServerErrors, "stored-server-errors", "probability of such an answer though the samples are stored"},
		{&b.TooManyRequests, "too-many-requests", "probability of a 429"},
		{&b.ClientErrors, "client-errors", "probability of a 400, 409 or 422"},
		{&b.PartialWrites, "partial-writes", "probability of a 400 to a request of 2.0 of which half of the series are stored"},
		{&b.Resets, "resets", "probability that the connection is reset before the request is read"},
		{&b.LostAnswers, "lost-answers", "probability that it is reset after the samples are stored"},
		{&b.Hangs, "hangs", "probability that there is no answer"},
		{&b.Poison, "poison", "part of all series whose requests are refused; not with -count"},
	} {
		flags.Float64Var(f.p, f.name, 0, f.what)
	}
}

// certain is how many per mille of requests Faults gives an answer to that is chosen already.
const certain = 1000

// outcome is an answer that a request may get, with its name in JSON.
type outcome struct {
	name        string
	probability float64
	choose      func(f *rwtest.Faults)
}

func (b *Behavior) outcomes() [8]outcome {
	return [...]outcome{
		{"server_errors", b.ServerErrors, func(f *rwtest.Faults) { f.ServerError = certain }},
		{"stored_server_errors", b.StoredServerErrors, func(f *rwtest.Faults) { f.StoredServerError = certain }},
		{"too_many_requests", b.TooManyRequests, func(f *rwtest.Faults) { f.TooManyRequests = certain }},
		{"client_errors", b.ClientErrors, func(f *rwtest.Faults) { f.ClientError = certain }},
		{"partial_writes", b.PartialWrites, func(f *rwtest.Faults) { f.PartialWrite = certain }},
		{"resets", b.Resets, func(f *rwtest.Faults) { f.ResetUnread = certain }},
		{"lost_answers", b.LostAnswers, func(f *rwtest.Faults) { f.DropAnswer = certain }},
		{"hangs", b.Hangs, func(f *rwtest.Faults) { f.Hang = certain }},
	}
}

func (b *Behavior) check() error {
	sum := 0.0
	outcomes := b.outcomes()
	for _, o := range append(outcomes[:], outcome{name: "poison", probability: b.Poison}) {
		if !(o.probability >= 0 && o.probability <= 1) {
			return fmt.Errorf("%s: must be from 0 to 1, not %v", o.name, o.probability)
		}
		sum += o.probability
	}
	for name, d := range map[string]Duration{"latency": b.Latency, "jitter": b.Jitter, "max_retry_after": b.MaxRetryAfter} {
		if d < 0 {
			return fmt.Errorf("%s: must not be negative", name)
		}
	}
	switch {
	case sum-b.Poison > 1+1e-9:
		return fmt.Errorf("the probabilities of answers add up to %v, which is more than 1", sum-b.Poison)
	case time.Duration(b.MaxRetryAfter)%time.Second != 0:
		return fmt.Errorf("max_retry_after: must be whole seconds, not %v", time.Duration(b.MaxRetryAfter))
	case b.Status != 0 && (b.Status < 200 || b.Status > 599):
		return fmt.Errorf("status: must be from 200 to 599, not %d", b.Status)
	case b.PoisonStatus < 200 || b.PoisonStatus > 599:
		return fmt.Errorf("poison_status: must be from 200 to 599, not %d", b.PoisonStatus)
	}
	return nil
}

// answer decides about the request of that number.
func (b *Behavior) answer(number int) rwtest.Answer {
	f := rwtest.Faults{Seed: b.Seed, MinLatency: time.Duration(b.Latency), MaxLatency: time.Duration(b.Latency + b.Jitter)}
	dice := float64(schedule.Mix(schedule.Mix(b.Seed, 0xa9), uint64(number))>>11) / (1 << 53)
	for _, o := range b.outcomes() {
		if dice < o.probability {
			o.choose(&f)
			break
		}
		dice -= o.probability
	}
	a := f.Answer(number)
	if b.Status != 0 && a.Seen() {
		a.Status, a.Body = b.Status, http.StatusText(b.Status)
	}
	// Some of what Faults asks for is meant to be read in several ways, and may be taken for the longest time there is.
	a.Header.Del("Retry-After")
	if seconds := uint64(time.Duration(b.MaxRetryAfter) / time.Second); seconds > 0 && (a.Code() == http.StatusServiceUnavailable || a.Code() == http.StatusTooManyRequests) {
		a.Header.Set("Retry-After", strconv.FormatUint(schedule.Mix(b.Seed, uint64(number))%(seconds+1), 10))
	}
	return a
}

// poisonous says whether a request is refused for the least of the dice of its series.
func (b *Behavior) poisonous(dice uint32) bool { return float64(dice) < b.Poison*(1<<32) }
