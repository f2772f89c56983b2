// Real signals, sent to a child process: what is tested is what the kernel does with them.
#include "ops/program/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace sluice::ops {
namespace {

// A process with a SignalWaiter, which tells through a pipe how far it is.
class Child {
 public:
  enum class Callback { kReturns, kBlocks };

  Child(SignalWaiter::HangUp hang_up, Callback callback, bool nohup = false) {
    int ends[2] = {};
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      signal(SIGHUP, nohup ? SIG_IGN : SIG_DFL);
      Run(hang_up, callback, ends[1]);
    }
    ::close(ends[1]);
    told_ = ends[0];
    EXPECT_EQ(Hear(), 'r');
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(told_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Send(int number) const { EXPECT_EQ(::kill(pid_, number), 0); }
  // The next that it tells: 'r' ready, 'c' the callback runs; 0 when it has ended.
  char Hear() const {
    char byte = 0;
    return ::read(told_, &byte, 1) == 1 ? byte : '\0';
  }
  // Waits for its end; the signal that ended it, 0 for an exit with 0.
  int End() const {
    int status = 0;
    while (Hear() != '\0') {
    }
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT), 0);
    status = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return status;
  }

 private:
  [[noreturn]] static void Run(SignalWaiter::HangUp hang_up, Callback callback, int tell) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a child that is never ended
    const auto say = [tell](char byte) { return ::write(tell, &byte, 1) == 1; };
    SignalWaiter waiter(hang_up);
    waiter.OnSignal([&] {
      say('c');
      while (callback == Callback::kBlocks) {
        ::pause();
      }
    });
    say('r');
    while (true) {
      ::pause();
    }
  }

  pid_t pid_ = 0;
  int told_ = -1;
};

using HangUp = SignalWaiter::HangUp;

TEST(SignalsTest, ASecondOneEndsTheProcessWhetherTheFirstIsStillWorkedOnOrNot) {
  for (const auto callback : {Child::Callback::kReturns, Child::Callback::kBlocks}) {
    for (const int number : {SIGTERM, SIGINT}) {
      const Child child(HangUp::kIgnored, callback);
      child.Send(SIGTERM);
      EXPECT_EQ(child.Hear(), 'c');
      child.Send(number);
      EXPECT_EQ(child.End(), number);
    }
  }
}

TEST(SignalsTest, SignalsThatMeanNothingLeaveItListening) {
  const Child child(HangUp::kIgnored, Child::Callback::kReturns);
  for (int i = 0; i < 3; ++i) {
    child.Send(SIGUSR1);
    child.Send(SIGUSR2);
    child.Send(SIGHUP);
    child.Send(SIGPIPE);
    for (const int number : {SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGRTMIN, SIGRTMAX}) {
      child.Send(number);
    }
  }
  child.Send(SIGTERM);
  EXPECT_EQ(child.Hear(), 'c');
  child.Send(SIGUSR1);
  child.Send(SIGHUP);
  child.Send(SIGTERM);
  EXPECT_EQ(child.End(), SIGTERM);
}

TEST(SignalsTest, AHangUpEndsWhatBelongsToATerminal) {
  const Child child(HangUp::kEnds, Child::Callback::kReturns);
  child.Send(SIGHUP);
  EXPECT_EQ(child.Hear(), 'c');
}

TEST(SignalsTest, NohupStaysInForce) {
  const Child child(HangUp::kEnds, Child::Callback::kReturns, /*nohup=*/true);
  child.Send(SIGHUP);
  child.Send(SIGHUP);
  child.Send(SIGTERM);
  EXPECT_EQ(child.Hear(), 'c');
  child.Send(SIGHUP);
  child.Send(SIGTERM);
  EXPECT_EQ(child.End(), SIGTERM);
}

TEST(SignalsTest, StopEndsTheWaiting) {
  bool called = false;
  SignalWaiter waiter;
  waiter.OnSignal([&] { called = true; });
  waiter.Stop();
  waiter.Stop();
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace sluice::ops
