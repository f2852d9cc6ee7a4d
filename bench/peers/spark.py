#!/usr/bin/env python3
# engine: spark
# what: Spark structured streaming from Kafka to Parquet files, on this machine's cores
# needs: pyspark==4.0.0
# jars: org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.0
# settings: defaults tuned
# does: ingest
# stores: yes
# quick: no
import glob
import os

from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from pyspark.sql import types as t

TUNED = {
    "spark.driver.memory": "4g",
    "spark.sql.parquet.compression.codec": "uncompressed",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
}
TUNED_SOURCE = {"minPartitions": str(os.cpu_count()), "kafka.max.partition.fetch.bytes": "8388608"}


class Peer:
    def __init__(self, setting):
        self.tuned = setting == "tuned"
        self.streams = []

    def start(self, bootstrap, dir, tables):
        self.tables, self.broker, self.dir = tables, bootstrap, dir
        jars = ",".join(sorted(glob.glob(os.environ["BENCH_JARS"] + "/*.jar")))
        settings = {
            "spark.jars": jars,
            "spark.ui.enabled": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.local.dir": self.dir + "/local",
            "spark.sql.warehouse.dir": self.dir + "/warehouse",
            **(TUNED if self.tuned else {}),
        }
        builder = SparkSession.builder.master("local[*]").appName("bench")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.spark = builder.getOrCreate()
        self.spark.sparkContext.setLogLevel("ERROR")
        said = [f"{key}={value}" for key, value in settings.items() if "dir" not in key and key != "spark.jars"]
        said += [f"{key}={value}" for key, value in TUNED_SOURCE.items() if self.tuned]
        return {"version": f"Spark {self.spark.version}", "settings": ["local[*]", *said]}

    def type(self, column):
        kind = column["kind"]
        if isinstance(kind, dict):
            return t.StringType()
        return {"int": t.LongType(), "price": t.DecimalType(12, 2), "time": t.TimestampType()}[kind]

    def schema(self, columns):
        """Structs in one another, as the keys of a message are."""
        tree = {}
        for column in columns:
            at = tree
            for key in column["path"][:-1]:
                at = at.setdefault(key, {})
            at[column["path"][-1]] = self.type(column)

        def struct(at):
            fields = [(key, struct(value) if isinstance(value, dict) else value) for key, value in at.items()]
            return t.StructType([t.StructField(key, value) for key, value in fields])

        return struct(tree)

    def begin(self):
        for table in self.tables:
            columns = table["columns"]
            source = self.spark.readStream.format("kafka").option("kafka.bootstrap.servers", self.broker)
            source = source.option("subscribe", table["topic"]).option("startingOffsets", "earliest")
            for key, value in TUNED_SOURCE.items() if self.tuned else ():
                source = source.option(key, value)
            rows = source.load().select(f.from_json(f.col("value").cast("string"), self.schema(columns)).alias("row"))
            rows = rows.select([f.col("row." + ".".join(c["path"])).alias(c["name"]) for c in columns])
            stream = rows.writeStream.format("parquet").option("path", self.path(table))
            stream = stream.option("checkpointLocation", f"{self.dir}/checkpoint-{table['table']}").start()
            self.streams.append((stream, {}))
        return {}

    def path(self, table):
        return f"{self.dir}/table-{table['table']}"

    def rows(self):
        # Of the batches that are committed: a reader of the files sees these rows. Counting the files at each
        # look would cost more than loading them.
        for stream, batches in self.streams:
            failed = stream.exception()
            if failed is not None:
                raise failed
            for one in stream.recentProgress:
                batches[one["batchId"]] = max(one["numInputRows"], batches.get(one["batchId"], 0))
        return {"rows": sum(sum(batches.values()) for _, batches in self.streams)}

    def tally(self, table):
        table = next(one for one in self.tables if one["table"] == table)
        texts = []
        for column in table["columns"]:
            value = f.col(column["name"])
            is_time = column["kind"] == "time"
            texts.append(f.date_format(value, "yyyy-MM-dd HH:mm:ss.SSS") if is_time else value.cast("string"))
        text = f.concat_ws("|", *texts)
        rows = self.spark.read.parquet(self.path(table))
        (sums,) = rows.select(f.count("*"), f.sum("id"), f.sum(f.crc32(text))).collect()
        return {"rows": sums[0], "ids": int(sums[1] or 0), "hash": int(sums[2] or 0)}

    def stop(self):
        for stream, _ in self.streams:
            stream.stop()
        self.spark.stop()
        return {}
