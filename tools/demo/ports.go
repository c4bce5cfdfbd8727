// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"flag"
	"fmt"
	"net"
)

// port is a port on the loopback interface that one of the programs listens on.
type port struct {
	flag, what string
	// number is the usual one, and then the one that is used. chosen says that a flag has set it.
	number int
	chosen bool
}

func (p *port) String() string   { return fmt.Sprintf("127.0.0.1:%d", p.number) }
func (p *port) url() string      { return "http://" + p.String() }
func (p *port) variable() string { return fmt.Sprintf("make run DEMO='-%s PORT'", p.flag) }

// ports are all of them.
type ports struct {
	prometheus, otlpGRPC, otlpHTTP, health, telemetry, page port
}

func usualPorts() ports {
	return ports{
		prometheus: port{flag: "port-prometheus", what: "Prometheus", number: 9090},
		otlpGRPC:   port{flag: "port-otlp-grpc", what: "the collector's OTLP receiver, gRPC", number: 4317},
		otlpHTTP:   port{flag: "port-otlp-http", what: "the collector's OTLP receiver, HTTP", number: 4318},
		health:     port{flag: "port-health", what: "the collector's health check", number: 13133},
		telemetry:  port{flag: "port-telemetry", what: "the collector's own metrics", number: 8888},
		page:       port{flag: "port-page", what: "the page", number: 8090},
	}
}

func (p *ports) all() []*port {
	return []*port{&p.prometheus, &p.otlpGRPC, &p.otlpHTTP, &p.health, &p.telemetry, &p.page}
}

// flags adds a flag for each port.
func (p *ports) flags(set *flag.FlagSet) {
	for _, one := range p.all() {
		set.IntVar(&one.number, one.flag, one.number, "port of "+one.what+", or 0 for any that is free")
	}
}

// choose takes free ports in place of the usual ones that are taken, of which it tells; or, with anyFree, in place of all that
// no flag has set. A port that a flag has set must be free.
func (p *ports) choose(anyFree bool, say func(string)) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, one := range p.all() {
		wanted := one.number
		if anyFree && !one.chosen {
			one.number = 0
		}
		l, err := net.Listen("tcp", one.String())
		if err != nil && one.chosen {
			return fmt.Errorf("-%s: %w", one.flag, err)
		}
		if err != nil {
			one.number = 0
			if l, err = net.Listen("tcp", one.String()); err != nil {
				return err
			}
		}
		// Kept open until all are chosen, so that none is chosen twice.
		listeners = append(listeners, l)
		one.number = l.Addr().(*net.TCPAddr).Port
		if one.number != wanted && wanted != 0 && !anyFree {
			say(fmt.Sprintf("port %d is taken: %s is on %d (to choose one: %s)", wanted, one.what, one.number, one.variable()))
		}
	}
	return nil
}

// noteChosen takes note of the flags that were given.
func (p *ports) noteChosen(set *flag.FlagSet) {
	set.Visit(func(f *flag.Flag) {
		for _, one := range p.all() {
			one.chosen = one.chosen || one.flag == f.Name
		}
	})
}
