package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/agent/httpapi"
	tapmcp "tapwatch/agent/mcp"
)

func mcpCommand() *cobra.Command {
	var client httpapi.Client
	var listen string
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Answer language models about sandboxes (Model Context Protocol)",
		Long: `Mcp lets language models ask what is wrong with a sandbox: it speaks the Model
Context Protocol on standard input and output, or with --listen by HTTP. Its tools
list sandboxes, diagnose one, and show findings, events and a sandbox's history. They
change nothing. What sandboxes chose themselves (names, consoles, command lines) is
cleaned, and every answer says that it is data and holds no instructions.`,
		Example: `  claude mcp add tapwatch -- tapwatch mcp`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := tapmcp.New(client, version.Version)
			if listen != "" {
				return serveMCP(cmd, s, listen)
			}
			err := s.Run(cmd.Context(), &mcp.StdioTransport{})
			if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) { // it is how a client ends
				return nil
			}
			return err
		},
	}
	agentURLFlag(cmd.Flags(), &client.BaseURL)
	cmd.Flags().StringVar(&listen, "listen", "", "answer by HTTP at this loopback address, e.g. 127.0.0.1:10919; empty: standard input and output")
	config.Check(cmd.Flags(), "listen", loopbackAddress)
	return cmd
}

// loopbackAddress lets through what only this host reaches: there is no key to give.
func loopbackAddress(value string) error {
	if value == "" {
		return nil
	}
	a, err := net.ResolveTCPAddr("tcp", value)
	if err != nil || !a.IP.IsLoopback() {
		return errors.New("must be a loopback address and port like 127.0.0.1:10919")
	}
	return nil
}

// serveMCP answers by HTTP. The handler refuses foreign names of this host and other
// sites' pages.
func serveMCP(cmd *cobra.Command, s *mcp.Server, listen string) error {
	var cfg net.ListenConfig
	l, err := cfg.Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", listen, err)
	}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{SessionTimeout: time.Hour})
	server := &http.Server{Handler: new(http.CrossOriginProtection).Handler(handler), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(cmd.Context(), func() { server.Close() })
	fmt.Fprintf(cmd.ErrOrStderr(), "mcp: http://%s/\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
