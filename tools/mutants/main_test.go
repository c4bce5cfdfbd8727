// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

// TestMutantsFitTheirFiles: what each mutant replaces stands in its file, and once.
func TestMutantsFitTheirFiles(t *testing.T) {
	for _, m := range mutants {
		if _, err := m.overlay("../..", t.TempDir()); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if len(m.tests) == 0 {
			t.Errorf("%s: no test", m.name)
		}
	}
}
