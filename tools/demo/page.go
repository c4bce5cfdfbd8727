// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// The page is static: what it draws it asks Prometheus, through the server that it comes from.
//
//go:embed page
var pageFiles embed.FS

// servePage serves the page, the dashboard that it draws, the state of the demonstration, and Prometheus's query API.
func (d *demo) servePage() (stop func(), err error) {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(d.dashboard); err != nil {
		return nil, err
	}
	prometheus, err := url.Parse(d.ports.prometheus.url())
	if err != nil {
		return nil, err
	}
	proxy := httputil.NewSingleHostReverseProxy(prometheus)
	// Nothing to log: while Prometheus is stopped the page asks for nothing.
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }

	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(files))
	mux.Handle("GET /api/v1/", proxy)
	mux.HandleFunc("GET /dashboard.json", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, d.dashboard) })
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(d.now()) // the browser may be gone
	})
	listener, err := net.Listen("tcp", d.ports.page.String())
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return func() { server.Close() }, nil
}
