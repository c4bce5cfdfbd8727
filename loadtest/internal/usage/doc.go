// SPDX-License-Identifier: Apache-2.0

// Package usage says how much CPU time and memory processes have used.
package usage
