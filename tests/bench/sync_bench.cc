// What the sync listener adds to sending bytes: `delta` and `stream` initial loads of rows that are
// in memory, against nginx serving a file of the same bytes. Prints one line each.
//   sync_bench [ROWS]
// And what a commit costs live streams: CPU of the whole process a change, for one that concerns
// none of them and for one that concerns one.
//   sync_bench live [STREAMS [BUCKETS]]
// And what it takes to give one bucket to many: first loads of so many streams, 16 at a time, and a
// change of 1,000 rows to all of them, live.
//   sync_bench shared [STREAMS [ROWS]]
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/integration/gateways/sync_fixture.h"
#include "tests/support/temp_dir.h"

namespace sluice::gateways {
namespace {

using sluice::testing::HttpReply;
using sluice::testing::HttpSocket;

constexpr int kSet = 1'000;
constexpr char kToken[] = "Authorization: Bearer {\"sub\":\"ann\"}\r\n";

struct Measured {
  double seconds = 0;
  size_t bytes = 0;
};

template <typename Load>
Measured Best(Load load) {
  Measured best;
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    const size_t bytes = load();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (best.bytes == 0 || took.count() < best.seconds) {
      best = {took.count(), bytes};
    }
  }
  return best;
}

void Put(sluice::testing::FoldStores& stores, int from, int rows) {
  std::vector<v1::Operation> ops;
  for (int i = from; i < from + rows; ++i) {
    const std::string key = fmt::format("account-{:08}", i);
    sluice::testing::RowWriter row;
    row.Text(1, key).Text(2, "Contoso Limited").Text(3, "ann").Text(4, std::string(160, 'n'));
    ops.push_back(sluice::testing::Upsert(1, key, row.bytes()));
  }
  stores.Add("contoso", sluice::testing::MakeSet(ops));
}

void Fill(sluice::testing::FoldStores& stores, int rows) {
  stores.Add("contoso", sluice::testing::OpenOrg(1));
  stores.Add("contoso", sluice::testing::DefineEntity(
                            1, "account", {{1, "id"}, {2, "name"}, {3, "owner"}, {4, "note"}}, 3));
  stores.Add("contoso", sluice::testing::DefineRole("field", true, {"account"}));
  stores.Add("contoso",
             sluice::testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"field"}));
  for (int at = 0; at < rows; at += kSet) {
    Put(stores, at, kSet);
  }
}

size_t LoadDelta(int port) {
  HttpSocket socket(port);
  size_t bytes = 0;
  std::string cursor;
  while (true) {
    socket.Request("GET", "/v1/orgs/contoso/delta?limit=10000&cursor=" + cursor, kToken);
    const HttpReply reply = socket.Read();
    bytes += reply.body.size();
    const size_t at = reply.body.rfind("\"cursor\":\"") + 10;
    cursor = reply.body.substr(at, reply.body.find('"', at) - at);
    if (reply.body.ends_with("\"more\":false}")) {
      return bytes;
    }
  }
}

size_t Drain(int port, std::string_view request) {
  HttpSocket socket(port);
  socket.Send(request);
  std::string buffer(1 << 18, '\0');
  size_t bytes = 0;
  for (ssize_t got = 1; got > 0; bytes += static_cast<size_t>(got)) {
    got = ::recv(socket.fd(), buffer.data(), buffer.size(), 0);
    if (got < 0) {
      std::exit(1);
    }
  }
  return bytes;
}

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

Measured LoadNginx(size_t bytes) {
  const sluice::testing::TempDir dir;
  const int port = FreePort();
  std::ofstream(dir / "rows.json") << std::string(bytes, 'x');
  std::ofstream(dir / "nginx.conf") << fmt::format(
      "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\n"
      "events {{}}\nhttp {{ access_log off; sendfile on;\n"
      "client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0};\n"
      "uwsgi_temp_path {0}; scgi_temp_path {0};\n"
      "server {{ listen 127.0.0.1:{1}; root {0}; }} }}\n",
      dir.path().string(), port);
  std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string conf = dir / "nginx.conf";
    ::execlp("nginx", "nginx", "-p", dir.path().c_str(), "-c", conf.c_str(), nullptr);
    ::_exit(127);
  }
  const std::string request = "GET /rows.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  while (HttpSocket(port).fd() < 0 && ::waitpid(pid, nullptr, WNOHANG) == 0) {
    std::this_thread::yield();
  }
  const Measured measured = Best([&] { return Drain(port, request); });
  ::kill(pid, SIGTERM);
  ::waitpid(pid, nullptr, 0);
  return measured;
}

void Print(std::string_view what, const Measured& measured, int rows, const Measured& limit) {
  const double rate = static_cast<double>(measured.bytes) / measured.seconds;
  const double most = static_cast<double>(limit.bytes) / limit.seconds;
  fmt::print("{:<8} {:>9.0f} rows/s {:>8.1f} MB/s {:>6.1f}% of nginx\n", what,
             rows / measured.seconds, rate / 1e6, 100 * rate / most);
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void ReadUntilComplete(HttpSocket& socket) {
  while (!socket.ReadLine().starts_with("{\"checkpoint_complete")) {
  }
}

// Streams of so many teams each, one of which nobody else is in.
int MeasureLive(int streams, int buckets) {
  sluice::testing::FoldStores stores;
  const auto put = [&](const std::string& key, const std::string& team) {
    sluice::testing::RowWriter row;
    row.Text(1, key).Text(2, "n").Text(4, team);
    stores.Add("contoso", sluice::testing::MakeSet({sluice::testing::Upsert(1, key, row.bytes())}));
  };
  stores.Add("contoso", sluice::testing::OpenOrg(1));
  stores.Add("contoso",
             sluice::testing::DefineEntity(
                 1, "account", {{1, "id"}, {2, "name"}, {3, "owner"}, {4, "team"}}, 3, 4));
  stores.Add("contoso", sluice::testing::DefineRole("field", true, {"account"}));
  stores.Add("contoso",
             sluice::testing::DefineProfile("p", {{"account", {v1::RULE_KIND_TEAM}}}, {"field"}));
  JsonAuthenticator authenticator;
  const sluice::RealClock clock;
  SyncOptions options;
  options.port = 0;
  options.log_id = "bench";
  options.access_log = false;
  options.heartbeat = std::chrono::hours(1);
  SyncServer server(options, stores, authenticator, clock);
  const int port = server.Start().value();
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (int i = 0; i < streams; ++i) {
    nlohmann::json claims = {{"sub", "ann"}, {"teams", {"own-" + std::to_string(i)}}};
    for (int team = 1; team < buckets; ++team) {
      claims["teams"].push_back("t" + std::to_string(team));
    }
    sockets.push_back(std::make_unique<HttpSocket>(port));
    sockets.back()->Request("POST", "/v1/orgs/contoso/stream",
                            "Authorization: Bearer " + claims.dump() + "\r\n", R"({"live":true})");
    (void)sockets.back()->Read(false);
    ReadUntilComplete(*sockets.back());
  }
  constexpr int kChanges = 20;
  const auto measure = [&](std::string_view what, auto change) {
    const double before = CpuSeconds();
    for (int i = 0; i < kChanges; ++i) {
      change(i);
      // The last stream is woken in turn: what came before is done.
      put("last", "own-" + std::to_string(streams - 1));
      ReadUntilComplete(*sockets.back());
    }
    fmt::print("{:<34} {:>8.3f} ms CPU a change\n", what, 1e3 * (CpuSeconds() - before) / kChanges);
  };
  const std::string shape = fmt::format("{} streams of {} buckets, ", streams, buckets);
  measure(shape + "1 concerned", [](int) {});
  measure(shape + "1 and nobody", [&](int) { put("other", "elsewhere"); });
  return 0;
}

int MeasureShared(int streams, int rows) {
  sluice::testing::FoldStores stores;
  Fill(stores, rows);
  JsonAuthenticator authenticator;
  const sluice::RealClock clock;
  SyncOptions options;
  options.port = 0;
  options.log_id = "bench";
  options.access_log = false;
  options.heartbeat = std::chrono::hours(1);
  SyncServer server(options, stores, authenticator, clock);
  const int port = server.Start().value();
  const std::string post = std::string("POST /v1/orgs/contoso/stream HTTP/1.1\r\nHost: x\r\n") +
                           kToken + "Connection: close\r\n\r\n";
  const auto measure = [&](std::string_view what, auto send) {
    const double before = CpuSeconds();
    const auto start = std::chrono::steady_clock::now();
    const size_t bytes = send();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    fmt::print("{} streams of one bucket, {:<12} {:>8.1f} MB/s {:>8.3f} ms CPU a stream\n", streams,
               what, static_cast<double>(bytes) / took.count() / 1e6,
               1e3 * (CpuSeconds() - before) / streams);
  };
  measure("first loads", [&] {
    std::atomic<size_t> bytes = 0;
    std::atomic<int> left = streams;
    std::vector<std::thread> clients;
    for (int i = 0; i < 16; ++i) {
      clients.emplace_back([&] {
        while (--left >= 0) {
          bytes += Drain(port, post);
        }
      });
    }
    for (std::thread& client : clients) {
      client.join();
    }
    return bytes.load();
  });
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (int i = 0; i < streams; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port));
    sockets.back()->Request("POST", "/v1/orgs/contoso/stream", kToken, R"({"live":true})");
    (void)sockets.back()->Read(false);
    ReadUntilComplete(*sockets.back());
  }
  measure("a change", [&] {
    Put(stores, 0, kSet);
    size_t bytes = 0;
    for (const auto& socket : sockets) {
      for (std::string line; !line.starts_with("{\"checkpoint_complete"); bytes += line.size()) {
        line = socket->ReadLine();
      }
    }
    return bytes;
  });
  server.Stop();
  return 0;
}

}  // namespace
}  // namespace sluice::gateways

int main(int argc, char** argv) {
  using namespace sluice::gateways;
  if (argc > 1 && std::string_view(argv[1]) == "live") {
    return MeasureLive(argc > 2 ? std::atoi(argv[2]) : 300, argc > 3 ? std::atoi(argv[3]) : 900);
  }
  if (argc > 1 && std::string_view(argv[1]) == "shared") {
    return MeasureShared(argc > 2 ? std::atoi(argv[2]) : 500,
                         argc > 3 ? std::atoi(argv[3]) / kSet * kSet : 10'000);
  }
  const int rows = (argc > 1 ? std::atoi(argv[1]) : 100'000) / kSet * kSet;
  sluice::testing::FoldStores stores;
  Fill(stores, rows);
  JsonAuthenticator authenticator;
  const sluice::RealClock clock;
  SyncOptions options;
  options.port = 0;
  options.log_id = "bench";
  options.access_log = false;
  // Each load by a server of its own, which keeps nothing of the loads before.
  std::vector<std::unique_ptr<SyncServer>> servers;
  const auto fresh = [&] {
    servers.push_back(std::make_unique<SyncServer>(options, stores, authenticator, clock));
    return servers.back()->Start().value();
  };
  const Measured delta = Best([&] { return LoadDelta(fresh()); });
  const std::string post = std::string("POST /v1/orgs/contoso/stream HTTP/1.1\r\nHost: x\r\n") +
                           kToken + "Connection: close\r\n\r\n";
  const Measured stream = Best([&] { return Drain(fresh(), post); });
  const Measured nginx = LoadNginx(stream.bytes);
  Print("nginx", nginx, rows, nginx);
  Print("delta", delta, rows, nginx);
  Print("stream", stream, rows, nginx);
  return 0;
}
