#include "projectors/provisioning/decide_source.h"

#include <gmock/gmock.h>

#include <functional>

#include "projectors/provisioning/control_change.h"
#include "projectors/provisioning/definition_limits.h"
#include "projectors/provisioning/difference.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::ElementsAre;
using testing::EntityRequest;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::OpenRequest;
using testing::Org;
using ::testing::Pair;
using Request = v1::ProvisioningRequest;

v1::SealedSecret Secret(const std::string& name, const std::string& sealed = "x") {
  v1::SealedSecret secret;
  secret.set_name(name);
  secret.set_sealed(sealed);
  return secret;
}

Request Put(const std::string& url = "https://crm.example.org/v4/") {
  Request request;
  v1::SourceSettings& settings = *request.mutable_put_source()->mutable_settings();
  settings.set_name("crm");
  settings.set_kind("odata");
  settings.set_url(url);
  settings.mutable_auth()->set_kind("oauth2");
  settings.mutable_auth()->set_token_url("https://login.example.org/token");
  (*settings.mutable_kafka())["security.protocol"] = "SSL";
  settings.add_entities()->set_name("account");
  settings.mutable_entities(0)->set_set("accounts");
  return request;
}

Request Kept(Request request) {
  request.mutable_put_source()->set_keep_secrets(true);
  return request;
}

Request WithSecret(Request request, const std::string& sealed = "x") {
  *request.mutable_put_source()->add_secrets() = Secret("client_secret", sealed);
  return request;
}

Request RunOf(const std::string& name, const std::string& entity, bool reload = false) {
  Request request;
  request.mutable_run_source()->set_name(name);
  request.mutable_run_source()->set_entity(entity);
  request.mutable_run_source()->set_reload(reload);
  return request;
}

Request DeleteSource(const std::string& name) {
  Request request;
  request.mutable_delete_source()->set_name(name);
  return request;
}

Request SourcesEntity(const std::string& source, const std::string& entity,
                      std::vector<std::string> attributes) {
  Request request;
  auto& put = *request.mutable_put_entity();
  put.set_name(entity);
  put.set_primary_key("id");
  put.set_source(source);
  attributes.insert(attributes.begin(), "id");
  for (const std::string& name : attributes) {
    auto& added = *put.add_attributes();
    added.set_name(name);
    added.set_type(v1::ATTRIBUTE_TYPE_STRING);
  }
  return request;
}

class DecideSourceTest : public ::testing::Test {
 protected:
  void SetUp() override { Accepted(OpenRequest("Contoso")); }

  Directory::Outcome Accepted(const Request& request) {
    auto outcome = sequencer_.Carry(org_, request);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.value_or(Directory::Outcome{});
  }
  std::string Refused(const Request& request) { return ErrorCode(RefusalOf(request)); }
  absl::Status RefusalOf(const Request& request) {
    const auto outcome = sequencer_.Carry(org_, request);
    EXPECT_FALSE(outcome.ok());
    return outcome.status();
  }
  std::shared_ptr<const OrgEntry> Entry() { return sequencer_.directory().Find(org_); }
  const v1::SourceDefined& Crm() { return *Entry()->sources.at("crm").defined; }
  std::vector<std::string> Attributes(const std::string& entity) {
    std::vector<std::string> names;
    for (const auto& attribute : Entry()->model->entities().at(entity)->attributes()) {
      names.push_back(attribute.name);
    }
    return names;
  }

  const OrgId org_ = Org("contoso");
  testing::Sequencer sequencer_;
};

TEST_F(DecideSourceTest, DefinesReplacesAndDeletes) {
  const auto put = Accepted(WithSecret(Put()));
  EXPECT_FALSE(put.existed);
  EXPECT_EQ(put.etag, Entry()->etags.at("source/crm"));
  EXPECT_EQ(Crm().epoch(), 1) << "the request's place";
  EXPECT_EQ(Crm().secrets(0).name(), "client_secret");
  ASSERT_NE(Entry()->model->FindSource("crm"), nullptr);
  EXPECT_EQ(Entry()->model->FindSource("crm")->epoch(), 1);
  const auto same = Accepted(Kept(Put()));
  EXPECT_TRUE(same.existed);
  EXPECT_EQ(same.changes_offset, kNoOffset) << "nothing has changed";
  Request slower = Kept(Put());
  slower.mutable_put_source()->mutable_settings()->set_interval_s(900);
  slower.set_if_match(put.etag);
  EXPECT_NE(Accepted(slower).etag, put.etag);
  EXPECT_EQ(Refused(slower), "precondition_failed");
  EXPECT_EQ(Crm().epoch(), 1);
  EXPECT_EQ(Crm().secrets_size(), 1);
  Accepted(DeleteSource("crm"));
  EXPECT_THAT(Entry()->sources, IsEmpty());
  EXPECT_FALSE(Entry()->etags.contains("source/crm"));
  EXPECT_EQ(Entry()->model->FindSource("crm"), nullptr);
  EXPECT_EQ(Refused(DeleteSource("crm")), "source_not_found");
  Accepted(Put());
  EXPECT_GT(Crm().epoch(), 1) << "one that is made anew begins anew";
}

// What only who talks with the source needs is in `provisioning` alone.
TEST_F(DecideSourceTest, ControlEventsHoldNoSecretsAndNoUrl) {
  Accepted(WithSecret(Put(), "sealed-text"));
  const eventlog::Event& control = *sequencer_.last_control();
  EXPECT_EQ(control.value.find("sealed-text"), std::string::npos);
  EXPECT_EQ(control.value.find("example.org"), std::string::npos);
  EXPECT_EQ(control.value.find("SSL"), std::string::npos);
  v1::ProvisioningOutcome told;
  ASSERT_TRUE(SetChange(control, &told));
  EXPECT_EQ(told.source_defined().settings().entities(0).name(), "account");
  EXPECT_EQ(told.source_defined().epoch(), 1);
  EXPECT_EQ(DefinitionOf("contoso", 1, told), "contoso 1 source/crm 0");
  EXPECT_TRUE(OrgModel::IsControlEvent(control.type));
}

TEST_F(DecideSourceTest, BeginsAnewWhereOtherRowsAreRead) {
  Accepted(Put());
  const auto epoch_after = [this](const std::function<void(v1::SourceSettings&)>& change) {
    Request request = Put();
    change(*request.mutable_put_source()->mutable_settings());
    const int64_t before = Crm().epoch();
    Accepted(request);
    const bool anew = Crm().epoch() != before;
    Accepted(Put());  // as it was
    return anew;
  };
  EXPECT_TRUE(epoch_after([](auto& s) { s.set_url("https://crm.example.org/v5/"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.set_brokers("b:1"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.set_transactions("t"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.mutable_tenants()->set_column("org"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.mutable_entities(0)->set_set("others"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.mutable_entities(0)->add_select("name"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.mutable_entities(0)->add_key("id"); }));
  EXPECT_TRUE(epoch_after([](auto& s) { s.mutable_entities(0)->set_topic("t"); }));
  EXPECT_FALSE(epoch_after([](auto& s) { s.set_interval_s(600); }));
  EXPECT_FALSE(epoch_after([](auto& s) { s.mutable_entities(0)->set_interval_s(600); }));
  EXPECT_FALSE(epoch_after([](auto& s) { s.add_entities()->set_name("contact"); }));
  EXPECT_FALSE(epoch_after([](auto& s) { s.mutable_auth()->set_scope("read"); }));
}

// Who may change settings could send a secret that he does not know to a host of his own.
TEST_F(DecideSourceTest, SecretsAreKeptForTheHostThatTheyWereGivenFor) {
  Accepted(WithSecret(Put()));
  const auto kept = [](const std::function<void(v1::SourceSettings&)>& change) {
    Request request = Kept(Put());
    change(*request.mutable_put_source()->mutable_settings());
    return request;
  };
  Accepted(kept([](auto& s) { s.set_interval_s(900); }));
  EXPECT_EQ(Refused(Kept(Put("https://crm.example.org/v5/"))), "secrets_required")
      << "another path may be of somebody else";
  for (const auto& change : std::vector<std::function<void(v1::SourceSettings&)>>{
           [](auto& s) { (*s.mutable_kafka())["security.protocol"] = "PLAINTEXT"; },
           [](auto& s) { (*s.mutable_kafka())["ssl.endpoint.identification.algorithm"] = "none"; },
           [](auto& s) { s.clear_kafka(); }}) {
    EXPECT_EQ(Refused(kept(change)), "secrets_required");
  }
  EXPECT_EQ(Refused(kept(
                [](auto& s) { s.mutable_auth()->set_token_url("https://login.example.org/x"); })),
            "secrets_required");
  EXPECT_EQ(Refused(Kept(Put("https://crm.example.org.evil.org/v4/"))), "secrets_required");
  EXPECT_EQ(Refused(Kept(Put("https://crm.example.org@evil.org/v4/"))), "secrets_required");
  EXPECT_EQ(Refused(Kept(Put("http://crm.example.org/v4/"))), "secrets_required");
  EXPECT_EQ(Refused(Kept(Put("https://crm.example.org:8443/v4/"))), "secrets_required");
  EXPECT_EQ(
      Refused(kept([](auto& s) { s.mutable_auth()->set_token_url("https://evil.org/token"); })),
      "secrets_required");
  EXPECT_EQ(Refused(kept([](auto& s) { s.set_brokers("evil.org:9092"); })), "secrets_required");
  EXPECT_EQ(Refused(kept([](auto& s) { s.add_link_hosts("evil.org"); })), "secrets_required");
  Accepted(WithSecret(Put("https://other.example.org/")));
  Accepted(Put("https://evil.org/"));  // without them
  EXPECT_EQ(Crm().secrets_size(), 0);
  Accepted(Kept(Put("https://other.org/")));  // there is nothing to be kept
}

TEST_F(DecideSourceTest, SecretsAreSealedAnew) {
  Request reseal;
  reseal.mutable_put_source()->mutable_settings()->set_name("crm");
  reseal.mutable_put_source()->set_reseal(true);
  *reseal.mutable_put_source()->add_secrets() = Secret("client_secret", "anew");
  EXPECT_EQ(Refused(reseal), "source_not_found");
  Accepted(WithSecret(Put()));
  const v1::SourceSettings settings = Crm().settings();
  Accepted(reseal);
  EXPECT_EQ(Crm().secrets(0).sealed(), "anew");
  EXPECT_EQ(Crm().settings().ShortDebugString(), settings.ShortDebugString());
  EXPECT_EQ(Crm().epoch(), 1);
  Request large = reseal;
  Accepted(WithSecret(Put(std::string(kSourceBytesOfOrgMax - 1'000, 'x'))));
  large.mutable_put_source()->mutable_secrets(0)->set_sealed(std::string(2'000, 'x'));
  EXPECT_EQ(Refused(large), "too_many_definitions");
  Accepted(reseal);
  *reseal.mutable_put_source()->add_secrets() = Secret("password");
  EXPECT_EQ(Refused(reseal), "invalid_argument");
}

TEST_F(DecideSourceTest, WhatIsNoSource) {
  const auto refused = [this](const std::function<void(Request::PutSource&)>& change) {
    Request request = Put();
    change(*request.mutable_put_source());
    return Refused(request);
  };
  for (const std::string name : {"", "Crm", "-crm", "crm-", "a/b", "a_b"}) {
    EXPECT_EQ(refused([&](auto& put) { put.mutable_settings()->set_name(name); }),
              "invalid_argument")
        << name;
  }
  EXPECT_EQ(refused([](auto& put) { put.mutable_settings()->set_name(std::string(64, 'a')); }),
            "invalid_argument");
  EXPECT_EQ(refused([](auto& put) { put.mutable_settings()->clear_kind(); }), "invalid_argument");
  EXPECT_EQ(refused([](auto& put) { put.mutable_settings()->add_entities()->set_name("account"); }),
            "invalid_argument");
  EXPECT_EQ(refused([](auto& put) { put.mutable_settings()->add_entities()->set_name("a b"); }),
            "invalid_argument");
  EXPECT_EQ(refused([](auto& put) {
              put.set_keep_secrets(true);
              *put.add_secrets() = Secret("x");
            }),
            "invalid_argument");
  EXPECT_EQ(refused([](auto& put) {
              *put.add_secrets() = Secret("x");
              *put.add_secrets() = Secret("x");
            }),
            "invalid_argument");
  EXPECT_EQ(refused([](auto& put) { *put.add_secrets() = Secret("x", ""); }), "invalid_argument");
  EXPECT_EQ(refused([](auto& put) {
              for (int i = 0; i < 17; ++i) {
                *put.add_secrets() = Secret("x" + std::to_string(i));
              }
            }),
            "invalid_argument");
  EXPECT_EQ(refused([](auto& put) {
              put.mutable_settings()->set_url(std::string(kSourceBytesOfOrgMax, 'x'));
            }),
            "too_many_definitions");
  EXPECT_EQ(refused([](auto& put) {
              for (int i = 0; i < 1'000; ++i) {
                put.mutable_settings()->add_entities()->set_name("e" + std::to_string(i));
              }
            }),
            "too_many_definitions");
  Accepted(Put());
  EXPECT_EQ(refused([](auto& put) { put.mutable_settings()->set_kind("debezium"); }),
            "incompatible_source");
  for (int i = 0; i < 63; ++i) {
    Request more = Put();
    more.mutable_put_source()->mutable_settings()->set_name("s" + std::to_string(i));
    Accepted(more);
  }
  EXPECT_EQ(refused([](auto& put) { put.mutable_settings()->set_name("last"); }),
            "too_many_definitions");
  Accepted(Put("https://crm.example.org/v5/"));
}

TEST_F(DecideSourceTest, RunsAreNotedAndReloadsBeginAnew) {
  EXPECT_EQ(Refused(RunOf("crm", "")), "source_not_found");
  Accepted(Put());
  const std::string etag = Entry()->etags.at("source/crm");
  const auto run = Accepted(RunOf("crm", "account"));
  EXPECT_EQ(run.changes_offset, kNoOffset) << "it is no change";
  EXPECT_TRUE(run.existed);
  EXPECT_EQ(Entry()->etags.at("source/crm"), etag);
  EXPECT_THAT(Entry()->sources.at("crm").runs, ElementsAre(Pair("account", Offset(2))));
  EXPECT_EQ(Refused(RunOf("crm", "contact")), "unknown_entity");
  Accepted(SourcesEntity("odata:crm", "contact", {}));
  Accepted(RunOf("crm", "contact"));
  Accepted(RunOf("crm", ""));
  EXPECT_THAT(Entry()->sources.at("crm").runs, ElementsAre(Pair("", Offset(5))));
  EXPECT_EQ(Refused(RunOf("crm", "account", true)), "invalid_argument");
  Accepted(RunOf("crm", "", true));
  EXPECT_EQ(Crm().epoch(), 6);
  EXPECT_THAT(Entry()->sources.at("crm").runs, IsEmpty());
}

TEST_F(DecideSourceTest, OneSourceHasAnEntitysRows) {
  Accepted(Put());
  EXPECT_EQ(Refused(SourcesEntity("odata:erp", "account", {})), "source_not_found");
  EXPECT_EQ(Refused(SourcesEntity("debezium:crm", "account", {})), "source_not_found");
  Accepted(EntityRequest("account"));
  Accepted(SourcesEntity("odata:crm", "account", {}));  // it may take what nobody has
  EXPECT_EQ(Entry()->model->entities().at("account")->proto().source(), "odata:crm");
  Request other = Put();
  other.mutable_put_source()->mutable_settings()->set_name("erp");
  EXPECT_EQ(Refused(other), "entity_has_source");
  other.mutable_put_source()->mutable_settings()->mutable_entities(0)->set_disabled(true);
  Accepted(other);
  EXPECT_EQ(Refused(SourcesEntity("odata:erp", "account", {})), "entity_has_source");
  EXPECT_EQ(Refused(SourcesEntity("debezium:@home/shop", "account", {})), "entity_has_source");
  Accepted(SourcesEntity("debezium:@home/shop", "order", {}));
  EXPECT_EQ(Entry()->model->OwnerOf(Entry()->model->entities().at("order")->proto()),
            "debezium:@home/shop");
  const absl::Status elsewhere = RefusalOf(SourcesEntity("odata:erp", "order", {}));
  EXPECT_EQ(ErrorCode(elsewhere), "entity_has_source");
  EXPECT_THAT(std::string(Message(elsewhere)), HasSubstr("a source of another organisation"));
  EXPECT_THAT(std::string(Message(elsewhere)), Not(HasSubstr("home")));
}

// The rows have the versions of the source that wrote them: another one's rows would all be older.
TEST_F(DecideSourceTest, NoOtherSourceTakesAnEntityWhoseOwnerWasDeleted) {
  Accepted(Put());
  Accepted(SourcesEntity("odata:crm", "account", {}));
  Accepted(DeleteSource("crm"));
  EXPECT_EQ(Entry()->model->OwnerOf(Entry()->model->entities().at("account")->proto()), "")
      << "but anybody may write it by HTTP";
  Request other = Put();
  other.mutable_put_source()->mutable_settings()->set_name("erp");
  EXPECT_EQ(Refused(other), "entity_has_source");
  other.mutable_put_source()->mutable_settings()->mutable_entities(0)->set_disabled(true);
  Accepted(other);
  EXPECT_EQ(Refused(SourcesEntity("odata:erp", "account", {})), "entity_has_source");
  Request retyped = Put();
  retyped.mutable_put_source()->mutable_settings()->set_kind("debezium");
  EXPECT_EQ(Refused(retyped), "entity_has_source") << "the same name, of another kind";
  Accepted(Put());  // made anew, it goes on
  Accepted(SourcesEntity("odata:crm", "account", {"name"}));
  Accepted(DeleteSource("crm"));
  Request gone;
  gone.mutable_delete_entity()->set_name("account");
  Accepted(gone);
  Accepted(SourcesEntity("odata:erp", "account", {}));
  EXPECT_EQ(Entry()->model->entities().at("account")->proto().source(), "odata:erp");
}

// A message that is cut amid a character makes an outcome that is written and can't be read, so
// that the request would be decided again and again.
TEST_F(DecideSourceTest, WhatARefusalQuotesStaysReadable) {
  const std::string text = std::string(31, 'x') + "é" + std::string(30, 'x') + "é" +
                           std::string(62, 'x') + "é" + std::string(200, 'x');
  std::vector<Request> refused;
  for (const std::string& name : {text, text.substr(1), text.substr(2), "y" + text}) {
    Request put = Put();
    put.mutable_put_source()->mutable_settings()->set_name(name);
    refused.push_back(put);
    put = Put();
    put.mutable_put_source()->mutable_settings()->set_kind(name);
    refused.push_back(put);
    put = Put();
    put.mutable_put_source()->mutable_settings()->mutable_entities(0)->set_name(name);
    refused.push_back(put);
    refused.push_back(RunOf("crm", name));
    refused.push_back(RunOf(name, ""));
    refused.push_back(DeleteSource(name));
    refused.push_back(SourcesEntity("odata:" + name, "account", {}));
  }
  Accepted(Put());
  for (const Request& request : refused) {
    v1::ProvisioningOutcome outcome;
    SetRefusal(RefusalOf(request), &outcome);
    EXPECT_TRUE(IsValidUtf8(outcome.error_detail())) << request.ShortDebugString();
    v1::ProvisioningOutcome read;
    EXPECT_TRUE(read.ParseFromString(outcome.SerializeAsString())) << request.ShortDebugString();
  }
}

// A source knows neither of an administrator's ownership nor of what it had itself before.
TEST_F(DecideSourceTest, ASourcesDefinitionAddsToWhatIsThere) {
  Accepted(Put());
  Accepted(SourcesEntity("odata:crm", "account", {"name", "city"}));
  Request admins = SourcesEntity("", "account", {"city", "name"});
  admins.mutable_put_entity()->set_owner_user("owner");
  admins.mutable_put_entity()->set_owner_team("city");
  admins.mutable_put_entity()->mutable_attributes(2)->set_references("account");
  Accepted(admins);
  EXPECT_EQ(Entry()->model->entities().at("account")->proto().source(), "odata:crm") << "is kept";
  const std::string before = Entry()->etags.at("entity/account");
  Accepted(SourcesEntity("odata:crm", "account", {"name"}));
  EXPECT_EQ(Entry()->etags.at("entity/account"), before) << "nothing has changed";
  Accepted(SourcesEntity("odata:crm", "account", {"phone", "name"}));
  EXPECT_THAT(Attributes("account"), ElementsAre("id", "city", "name", "phone", "owner"));
  const v1::EntitySchema schema = Entry()->model->entities().at("account")->proto();
  EXPECT_NE(schema.ownership().user(), 0U);
  EXPECT_NE(schema.ownership().team(), 0U);
  EXPECT_EQ(schema.attributes(2).references(), "account");
  Request retyped = SourcesEntity("odata:crm", "account", {"name"});
  retyped.mutable_put_entity()->mutable_attributes(1)->set_type(v1::ATTRIBUTE_TYPE_INT32);
  EXPECT_EQ(Refused(retyped), "incompatible_schema");
}

TEST_F(DecideSourceTest, WhatChangesLacksIsPutThereAgain) {
  Accepted(WithSecret(Put()));
  const auto open = OrgModel::WithoutRules();
  v1::OrgOpened opened;
  opened.set_incarnation(1);
  eventlog::Event event;
  event.type = opened.GetDescriptor()->full_name();
  event.value = opened.SerializeAsString();
  const auto before = *open->Apply(event);
  const std::vector<eventlog::Event> needed = Difference(*before, *Entry());
  ASSERT_EQ(needed.size(), 1U);
  EXPECT_EQ(needed[0].value, AsInChanges(Crm()).SerializeAsString());
  const auto after = *before->Apply(needed[0]);
  EXPECT_THAT(Difference(*after, *Entry()), IsEmpty());
  Accepted(RunOf("crm", "", true));
  ASSERT_EQ(Difference(*after, *Entry()).size(), 1U);
  Accepted(DeleteSource("crm"));
  const std::vector<eventlog::Event> gone = Difference(*after, *Entry());
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone[0].type, "sluice.v1.SourceDeleted");
}

TEST_F(DecideSourceTest, ANewIncarnationHasNoSources) {
  Accepted(Put());
  Accepted(testing::CloseRequest());
  Accepted(OpenRequest("Contoso"));
  EXPECT_THAT(Entry()->sources, IsEmpty());
  EXPECT_FALSE(Entry()->etags.contains("source/crm"));
}

}  // namespace
}  // namespace sluice::projectors
