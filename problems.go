// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
)

// problems are errors on one line. The Collector puts the id of the component in front of an error, but not in front of
// its further lines.
type problems []error

func (p problems) Error() string {
	texts := make([]string, len(p))
	for i, err := range p {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (p problems) Unwrap() []error { return p }

// onOneLine returns the errors that are not nil as one, or nil.
func onOneLine(errs ...error) error {
	p := slices.DeleteFunc(problems(errs), func(err error) bool { return err == nil })
	if len(p) == 0 {
		return nil
	}
	return p
}
