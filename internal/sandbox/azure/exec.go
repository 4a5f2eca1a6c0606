// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"golang.org/x/net/websocket"
)

const (
	// StreamPort is where clients of a container that executes a command find what it says.
	StreamPort = 19390

	streamHost = "simulated.eastus.atlas.cloudapp.azure.com"
	streamPath = "/execstream/"
)

// execution is a command that waits for its client.
type execution struct{ container, command, password string }

// execute hands out where to connect to, as nothing is executed here.
func (c *call) execute(_ context.Context, _, _, name string, request armcontainerinstance.ContainerExecRequest,
	_ *armcontainerinstance.ContainersClientExecuteCommandOptions,
) (resp azfake.Responder[armcontainerinstance.ContainersClientExecuteCommandResponse], fail azfake.ErrorResponder) {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	if _, instance := g.states(now, c.world.timing); instance != "Running" || !g.has(name) {
		fail.SetError(newError(http.StatusNotFound, "ContainerNotFound",
			"The container '%s' in container group '%s' was not found.", name, g.name()))
		return resp, fail
	}
	e := execution{container: name, password: rand.Text()}
	if request.Command != nil {
		e.command = *request.Command
	}
	session := rand.Text()
	c.executions[session] = e
	uri := fmt.Sprintf("wss://%s:%d%s%s", streamHost, StreamPort, streamPath, session)
	resp.SetResponse(http.StatusOK, armcontainerinstance.ContainersClientExecuteCommandResponse{
		ContainerExecResponse: armcontainerinstance.ContainerExecResponse{WebSocketURI: &uri, Password: &e.password},
	}, nil)
	return resp, fail
}

// Streams serves the WebSockets of commands: a client that sends the password is told of the command, and that it is simulated.
func (s *Server) Streams() http.Handler {
	// Without a handshake of its own it would ask for an Origin, which only browsers send.
	return websocket.Server{Handler: func(connection *websocket.Conn) {
		e, ok := s.takeExecution(strings.TrimPrefix(connection.Request().URL.Path, streamPath))
		var password string
		if err := websocket.Message.Receive(connection, &password); err != nil || !ok || password != e.password {
			return
		}
		// A client that is gone is not told.
		_, _ = fmt.Fprintf(connection, "container %s is simulated: %s is not executed\r\n", e.container, e.command)
	}}
}

func (s *Server) takeExecution(session string) (execution, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.executions[session]
	delete(s.executions, session)
	return e, ok
}

func (g *containerGroup) has(container string) bool {
	return slices.ContainsFunc(g.written.Properties.Containers, func(c *armcontainerinstance.Container) bool { return *c.Name == container })
}
