BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'tiny');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'seed','7');
INSERT INTO "study_user_attributes" VALUES(2,1,'identity','{"data": "tiny", "data_hash": "d1", "split": "holdout", "split_hash": "s1", "objective": "mean_auc", "direction": "maximize", "semantics": {"objective": "mean_auc", "epochs": 3}}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,0.52,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,0.53,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,3,0.535,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,1,5.47645329180344253572e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,3,1,0.538200140648283,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,3,2,5.57300210972424547861e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,3,3,5.66850246134495305838e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,5,1,5.08404263769706155073e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,5,2,5.1260639565455923261e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'loss',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "focal"]}}');
INSERT INTO "trial_params" VALUES(2,1,'lr',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(3,1,'loss.focal.gamma',1.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 3.0, "log": false}}');
INSERT INTO "trial_params" VALUES(4,2,'loss',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "focal"]}}');
INSERT INTO "trial_params" VALUES(5,2,'lr',2.38226645901721406639e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(6,3,'loss',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "focal"]}}');
INSERT INTO "trial_params" VALUES(7,3,'lr',0.00191000703241415,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(8,4,'loss',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "focal"]}}');
INSERT INTO "trial_params" VALUES(9,4,'lr',4.37545967573149598584e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(10,5,'loss',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "focal"]}}');
INSERT INTO "trial_params" VALUES(11,5,'lr',4.20213188485306691176e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(12,6,'loss',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "focal"]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"loss": "focal", "lr": 0.001, "loss.focal.gamma": 1.5}');
INSERT INTO "trial_system_attributes" VALUES(2,7,'fixed_params','{"loss": "cross_entropy", "lr": 0.005}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'seed','494109188');
INSERT INTO "trial_user_attributes" VALUES(2,1,'settings','{"image_size": 32, "loss": "focal", "lr": 0.001, "loss.focal.gamma": 1.5}');
INSERT INTO "trial_user_attributes" VALUES(3,1,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(4,1,'began_at','0');
INSERT INTO "trial_user_attributes" VALUES(5,1,'let_go','false');
INSERT INTO "trial_user_attributes" VALUES(6,1,'ray_trial','"r0"');
INSERT INTO "trial_user_attributes" VALUES(7,1,'checkpoint','"checkpoints/tiny/0"');
INSERT INTO "trial_user_attributes" VALUES(8,1,'metrics','{"mean_auc": 0.535}');
INSERT INTO "trial_user_attributes" VALUES(9,1,'seconds','4.5');
INSERT INTO "trial_user_attributes" VALUES(10,1,'device_seconds','4.5');
INSERT INTO "trial_user_attributes" VALUES(11,1,'examples','18');
INSERT INTO "trial_user_attributes" VALUES(12,1,'verdict','{"state": "complete", "epoch": 3, "value": 0.535, "failure": null, "message": null}');
INSERT INTO "trial_user_attributes" VALUES(13,2,'seed','492216842');
INSERT INTO "trial_user_attributes" VALUES(14,2,'settings','{"image_size": 32, "loss": "cross_entropy", "lr": 0.002382266459017214}');
INSERT INTO "trial_user_attributes" VALUES(15,2,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(16,2,'began_at','0');
INSERT INTO "trial_user_attributes" VALUES(17,2,'let_go','false');
INSERT INTO "trial_user_attributes" VALUES(18,2,'ray_trial','"r1"');
INSERT INTO "trial_user_attributes" VALUES(19,2,'checkpoint','"checkpoints/tiny/1"');
INSERT INTO "trial_user_attributes" VALUES(20,2,'metrics','{"mean_auc": 0.5476453291803443}');
INSERT INTO "trial_user_attributes" VALUES(21,2,'seconds','1.5');
INSERT INTO "trial_user_attributes" VALUES(22,2,'device_seconds','1.5');
INSERT INTO "trial_user_attributes" VALUES(23,2,'examples','6');
INSERT INTO "trial_user_attributes" VALUES(24,2,'verdict','{"state": "pruned", "epoch": 1, "value": 0.5476453291803443, "failure": null, "message": null}');
INSERT INTO "trial_user_attributes" VALUES(25,3,'seed','2662277621');
INSERT INTO "trial_user_attributes" VALUES(26,3,'settings','{"image_size": 32, "loss": "cross_entropy", "lr": 0.00191000703241415}');
INSERT INTO "trial_user_attributes" VALUES(27,3,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(28,3,'began_at','0');
INSERT INTO "trial_user_attributes" VALUES(29,3,'let_go','false');
INSERT INTO "trial_user_attributes" VALUES(30,3,'ray_trial','"r2"');
INSERT INTO "trial_user_attributes" VALUES(31,3,'checkpoint','"checkpoints/tiny/2"');
INSERT INTO "trial_user_attributes" VALUES(32,3,'metrics','{"mean_auc": 0.5668502461344953}');
INSERT INTO "trial_user_attributes" VALUES(33,3,'seconds','4.5');
INSERT INTO "trial_user_attributes" VALUES(34,3,'device_seconds','4.5');
INSERT INTO "trial_user_attributes" VALUES(35,3,'examples','18');
INSERT INTO "trial_user_attributes" VALUES(36,3,'verdict','{"state": "complete", "epoch": 3, "value": 0.5668502461344953, "failure": null, "message": null}');
INSERT INTO "trial_user_attributes" VALUES(37,4,'seed','1437387231');
INSERT INTO "trial_user_attributes" VALUES(38,4,'settings','{"image_size": 32, "loss": "cross_entropy", "lr": 0.0004375459675731496}');
INSERT INTO "trial_user_attributes" VALUES(39,4,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(40,4,'began_at','0');
INSERT INTO "trial_user_attributes" VALUES(41,4,'let_go','false');
INSERT INTO "trial_user_attributes" VALUES(42,4,'ray_trial','"r3"');
INSERT INTO "trial_user_attributes" VALUES(43,4,'checkpoint','"checkpoints/tiny/3"');
INSERT INTO "trial_user_attributes" VALUES(44,4,'seconds','1.5');
INSERT INTO "trial_user_attributes" VALUES(45,4,'device_seconds','1.5');
INSERT INTO "trial_user_attributes" VALUES(46,4,'examples','6');
INSERT INTO "trial_user_attributes" VALUES(47,4,'failure','"non-finite"');
INSERT INTO "trial_user_attributes" VALUES(48,4,'message','"the loss is nan"');
INSERT INTO "trial_user_attributes" VALUES(49,4,'verdict','{"state": "failed", "epoch": 1, "value": null, "failure": "non-finite", "message": "the loss is nan"}');
INSERT INTO "trial_user_attributes" VALUES(50,5,'seed','1215197035');
INSERT INTO "trial_user_attributes" VALUES(51,5,'settings','{"image_size": 32, "loss": "cross_entropy", "lr": 0.0004202131884853067}');
INSERT INTO "trial_user_attributes" VALUES(52,5,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(53,5,'began_at','0');
INSERT INTO "trial_user_attributes" VALUES(54,5,'let_go','false');
INSERT INTO "trial_user_attributes" VALUES(55,5,'ray_trial','"r4"');
INSERT INTO "trial_user_attributes" VALUES(56,5,'checkpoint','"checkpoints/tiny/4"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.535,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,5.47645329180344253572e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,5.66850246134495305838e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-22 05:56:44.647519','2026-11-22 05:56:45.237117');
INSERT INTO "trials" VALUES(2,1,1,'PRUNED','2026-11-22 05:56:45.304888','2026-11-22 05:56:45.730167');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-22 05:56:45.749539','2026-11-22 05:56:46.143564');
INSERT INTO "trials" VALUES(4,3,1,'FAIL','2026-11-22 05:56:46.278995','2026-11-22 05:56:46.571635');
INSERT INTO "trials" VALUES(5,4,1,'RUNNING','2026-11-22 05:56:46.578551',NULL);
INSERT INTO "trials" VALUES(6,5,1,'RUNNING','2026-11-22 05:56:46.612673',NULL);
INSERT INTO "trials" VALUES(7,6,1,'WAITING',NULL,NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
