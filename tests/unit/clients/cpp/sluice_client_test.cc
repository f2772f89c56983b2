#include "clients/cpp/sluice_client.h"

#include <gtest/gtest.h>

#include "tests/support/clients/scripted_sync_server.h"
#include "tests/support/clients/sql_reader.h"
#include "tests/support/clients/sync_frames.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/clients/cpp/c_program.h"

namespace sluice {
namespace {

using testing::CheckpointFrame;
using testing::CompleteFrame;
using testing::OpsFrame;
using testing::PutOp;
using testing::ScriptedAnswer;

class SluiceClientTest : public ::testing::Test {
 protected:
  testing::TempDir dir;
  std::string path = dir / "c.sqlite";
  testing::ScriptedSyncServer server{
      R"({"entities":[{"entity":"account","primary_key":"id","attributes":[
          {"name":"id","type":"string"}]}]})"};
  const testing::Buckets rows = {{"b1", {{{"account", "A1"}, "5.0"}}}};
  const std::string load = CheckpointFrame(5, rows) +
                           OpsFrame("b1", 0, 5, {PutOp("account", "A1", "5.0", R"({"id":"A1"})")}) +
                           CompleteFrame(5);
};

TEST_F(SluiceClientTest, ACProgramPulls) {
  server.Script({{.body = load}});
  const c_program_seen seen = c_program_pull(server.url().c_str(), "acme", path.c_str());
  ASSERT_EQ(seen.code, SLUICE_OK) << seen.error_message;
  EXPECT_STREQ(seen.error_code, "");
  EXPECT_EQ(seen.result.position, 5);
  EXPECT_EQ(seen.result.rows_put, 1U);
  EXPECT_EQ(seen.result.buckets, 1U);
  EXPECT_EQ(seen.result.bytes_received, load.size());
  EXPECT_EQ(seen.progress, 1);
  EXPECT_EQ(seen.rows_total, 1U);
  EXPECT_EQ(server.requests()[0].authorization, "Bearer " + std::string(2000, 'x'));
  EXPECT_EQ(testing::SqlReader(path).Query("SELECT id FROM account"), "A1");
}

TEST_F(SluiceClientTest, ACProgramFollowsUntilItCancels) {
  server.Script({{.body = load + CheckpointFrame(6, rows) + CompleteFrame(6),
                  .end = ScriptedAnswer::End::kHold}});
  const c_program_seen seen = c_program_follow(server.url().c_str(), "acme", path.c_str(), 6);
  EXPECT_EQ(seen.code, SLUICE_OK) << seen.error_message;
  EXPECT_EQ(seen.checkpoints, 2);
  EXPECT_EQ(seen.last_position, 6);
}

TEST_F(SluiceClientTest, EachFailureHasItsCode) {
  const auto pull = [this](const char* org) {
    return c_program_pull(server.url().c_str(), org, path.c_str());
  };
  server.Script({{.status = 403, .body = R"({"code":"offline_not_allowed","detail":"no role"})"}});
  c_program_seen seen = pull("acme");
  EXPECT_EQ(seen.code, SLUICE_REFUSED);
  EXPECT_STREQ(seen.error_code, "offline_not_allowed");
  EXPECT_STREQ(seen.error_message, "no role (HTTP 403)");

  server.Script({{.status = 503}});
  EXPECT_EQ(pull("acme").code, SLUICE_UNAVAILABLE);

  server.Script({{.body = "what\n"}});
  seen = pull("acme");
  EXPECT_EQ(seen.code, SLUICE_DATA_LOSS);
  EXPECT_STREQ(seen.error_code, "malformed_frame");

  seen = pull("globex");
  EXPECT_EQ(seen.code, SLUICE_FILE);
  EXPECT_STREQ(seen.error_code, "database_of_other_org");
  EXPECT_EQ(pull("a/b").code, SLUICE_INVALID);
}

TEST_F(SluiceClientTest, ACProgramWipesWhatIsNoLongerItsOwn) {
  const auto pull = [this] { return c_program_wipe(server.url().c_str(), "acme", path.c_str()); };
  server.Script({{.body = load}});
  EXPECT_EQ(pull().code, SLUICE_OK);
  server.Script({{.status = 403, .body = R"({"code":"offline_not_allowed"})"}});
  EXPECT_EQ(pull().code, SLUICE_REFUSED);
  EXPECT_EQ(testing::SqlReader(path).Query("SELECT id FROM account"), "A1");
  server.Script({{.status = 404, .body = R"({"code":"org_not_found","wipe":true})"}});
  const c_program_seen seen = pull();
  EXPECT_EQ(seen.code, SLUICE_REVOKED);
  EXPECT_STREQ(seen.error_code, "org_not_found");
  EXPECT_EQ(seen.wiped, SLUICE_OK);
  EXPECT_EQ(seen.after_wipe, SLUICE_INVALID);
  EXPECT_EQ(testing::SqlReader(path).Query("SELECT count(*) FROM sqlite_schema"), "0");
}

TEST_F(SluiceClientTest, WrongUsesAreAnswered) {
  EXPECT_EQ(c_program_misuse(server.url().c_str(), path.c_str()), 0);
}

}  // namespace
}  // namespace sluice
