// SPDX-License-Identifier: Apache-2.0

// Package flags refuses command lines that say something else than is done.
package flags

import (
	"flag"
	"fmt"
	"strings"
)

// NoArguments refuses what is no flag. It ends the flags: those behind it would silently have no effect.
func NoArguments(set *flag.FlagSet) error {
	if set.NArg() == 0 {
		return nil
	}
	return fmt.Errorf("%q is no flag, and neither is what follows it", set.Arg(0))
}

// Parse reads the flags of a tool that another one runs. Those that the other one sets itself are refused.
func Parse(set *flag.FlagSet, text string, own map[string]string) error {
	if err := set.Parse(strings.Fields(text)); err != nil {
		return err
	}
	if err := NoArguments(set); err != nil {
		return fmt.Errorf("-%s: %w", set.Name(), err)
	}
	var err error
	set.Visit(func(f *flag.Flag) {
		if instead, ok := own[f.Name]; ok {
			err = fmt.Errorf("-%s: -%s has no effect there, %s", set.Name(), f.Name, instead)
		}
	})
	return err
}
