// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Branch is the one that a repository has.
const Branch = "main"

func repositoriesIn(folder string) string { return filepath.Join(folder, "repositories") }

// gitEnvironment keeps what the machine's users have set for themselves out of the sandbox's repositories.
func gitEnvironment() []string {
	return []string{
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_AUTHOR_NAME=sandbox", "GIT_AUTHOR_EMAIL=sandbox@sandbox.invalid",
		"GIT_COMMITTER_NAME=sandbox", "GIT_COMMITTER_EMAIL=sandbox@sandbox.invalid",
	}
}

// Commit makes the files of a directory the content of a repository, such as owner/name, on its branch and, unless it
// is empty, as a tag; a tag that is there already is moved. The repository is made if it is not there.
func Commit(ctx context.Context, folder, git, repository, directory, tag string) (revision string, err error) {
	owner, name, ok := strings.Cut(repository, "/")
	if !ok || !filepath.IsLocal(repository) || strings.Contains(name, "/") || owner == "" || name == "" {
		return "", fmt.Errorf("the repository %q is not of the form owner/name", repository)
	}
	if directory, err = filepath.Abs(directory); err != nil {
		return "", err
	}
	store := filepath.Join(repositoriesIn(folder), owner, name+".git")
	if err := os.MkdirAll(filepath.Dir(store), 0o700); err != nil {
		return "", err
	}
	index, err := os.MkdirTemp("", "index-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(index)
	run := func(args ...string) error {
		command := exec.CommandContext(ctx, git, args...)
		command.Dir = directory
		command.Env = append(append(os.Environ(), gitEnvironment()...), "GIT_DIR="+store, "GIT_INDEX_FILE="+filepath.Join(index, "index"))
		output, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("publishing %s as %s: git %s: %w: %s", directory, repository, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
		}
		revision = strings.TrimSpace(string(output))
		return nil
	}
	steps := [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=" + Branch},
		{"--work-tree=.", "add", "--all", "--force"},
		{"--work-tree=.", "commit", "--quiet", "--allow-empty", "--message=" + filepath.Base(directory)},
	}
	if tag != "" {
		steps = append(steps, []string{"tag", "--force", tag})
	}
	for _, step := range append(steps, []string{"rev-parse", "HEAD"}) {
		if err := run(step...); err != nil {
			return "", err
		}
	}
	return revision, nil
}
