#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace sluice::testing {

// Runs this program once more, with `arguments` and behind them the number of a descriptor to which
// it writes a byte after each of its steps. Kills it (SIGKILL) after `steps` of them, so amid a
// later one. Fails the test where it ended before.
inline void RunUntilKilled(std::vector<std::string> arguments, size_t steps) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  arguments.push_back(std::to_string(pipe_fds[1]));
  std::string name = "/proc/self/exe";
  std::vector<char*> argv = {name.data()};
  for (std::string& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  (void)fflush(stdout);  // or the child prints it too
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // A program of its own: RocksDB's threads do not live on in a fork.
    execv(name.c_str(), argv.data());
    _exit(6);
  }
  close(pipe_fds[1]);
  size_t reported = 0;
  for (char step = 0; reported < steps && read(pipe_fds[0], &step, 1) == 1;) {
    ++reported;
  }
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  close(pipe_fds[0]);
  ASSERT_EQ(reported, steps) << "the child ended with status " << status;
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended with status " << status;
}

}  // namespace sluice::testing
