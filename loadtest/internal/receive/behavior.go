// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// Behavior is how a receiver answers. The probabilities are those of a request, from 0 to 1, in steps of a thousandth.
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
		{&b.Resets, "resets", "probability that the connection is reset before the request is read"},
		{&b.LostAnswers, "lost-answers", "probability that it is reset after the samples are stored"},
		{&b.Hangs, "hangs", "probability that there is no answer"},
		{&b.Poison, "poison", "part of all series whose requests are refused; not with -count"},
	} {
		flags.Float64Var(f.p, f.name, 0, f.what)
	}
}

func (b *Behavior) probabilities() []float64 {
	return []float64{b.ServerErrors, b.StoredServerErrors, b.TooManyRequests, b.ClientErrors, b.Resets, b.LostAnswers, b.Hangs}
}

func (b *Behavior) check() error {
	sum := 0.0
	for _, p := range append(b.probabilities(), b.Poison) {
		if p < 0 || p > 1 || math.IsNaN(p) {
			return fmt.Errorf("a probability must be from 0 to 1, not %v", p)
		}
	}
	for _, p := range b.probabilities() {
		sum += p
	}
	switch {
	case sum > 1:
		return fmt.Errorf("the probabilities of answers add up to %v, which is more than 1", sum)
	case b.Latency < 0 || b.Jitter < 0 || b.MaxRetryAfter < 0:
		return errors.New("latency, jitter and max_retry_after must not be negative")
	case b.Status != 0 && (b.Status < 200 || b.Status > 599):
		return fmt.Errorf("status: must be from 200 to 599, not %d", b.Status)
	case b.PoisonStatus < 200 || b.PoisonStatus > 599:
		return fmt.Errorf("poison_status: must be from 200 to 599, not %d", b.PoisonStatus)
	}
	return nil
}

// answer decides about the request of that number.
func (b *Behavior) answer(number int) rwtest.Answer {
	permille := func(p float64) int { return int(math.Round(1000 * p)) }
	a := rwtest.Faults{
		Seed:              b.Seed,
		ServerError:       permille(b.ServerErrors),
		StoredServerError: permille(b.StoredServerErrors),
		TooManyRequests:   permille(b.TooManyRequests),
		ClientError:       permille(b.ClientErrors),
		ResetUnread:       permille(b.Resets),
		DropAnswer:        permille(b.LostAnswers),
		Hang:              permille(b.Hangs),
		MinLatency:        time.Duration(b.Latency),
		MaxLatency:        time.Duration(b.Latency + b.Jitter),
	}.Answer(number)
	if a.Header.Get("Retry-After") != "" {
		// Some of what Faults asks for is meant to be read in several ways, and may be taken for the longest time there is.
		a.Header.Del("Retry-After")
		if seconds := int64(time.Duration(b.MaxRetryAfter) / time.Second); seconds > 0 {
			a.Header.Set("Retry-After", strconv.FormatUint(schedule.Mix(b.Seed, uint64(number))%uint64(seconds+1), 10))
		}
	}
	if b.Status != 0 && a.Seen() {
		a.Status = b.Status
	}
	return a
}

// poisonous says whether a request is refused for the least of the dice of its series.
func (b *Behavior) poisonous(dice uint32) bool { return float64(dice) < b.Poison*(1<<32) }
